"""``publish --dry-run``: what the next publication would change, hosts first. Builds, signs and writes nothing."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from builder.errors import PublishError, RepobuildError
from builder.model.cells import PackageKind, Verdict
from builder.model.matrix import Delivery, Distribution
from builder.model.naming import package_nevra
from builder.model.planning import StreamPlan, UnitOutcome
from builder.pipeline.events import Listener, ignore
from builder.pipeline.gates import late_units
from builder.pipeline.integrity import told_keys
from builder.pipeline.lifetimes import read_support
from builder.pipeline.matrix import open_workshop, plan_units
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.report import support_facts
from builder.pipeline.settings import Settings
from builder.pipeline.specs import make_job
from builder.pipeline.units import LEVEL, run_units
from builder.pipeline.workshop import Workshop
from builder.plan.errata import plan_errata
from builder.plan.streams import plan_streams, units_of_stream
from builder.publish import Repository, advisory_ids, read_generation
from builder.report import Difference, Published, difference, left_early, support_matrix

_NEXT = "(not made yet)"
_KEPT = (PackageKind.GATE.value, PackageKind.RELEASE.value)  # former ones stay for `dnf history undo`


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """What would become of one distribution × arch."""

    distribution: str
    arch: str
    change: Difference
    advisories: tuple[str, ...]  # ids that would be new
    notes: tuple[str, ...]  # what is taken as given, what would be refused

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "distribution": self.distribution,
            "arch": self.arch,
            **self.change.document(),
            "advisories": self.advisories,
            "notes": self.notes,
        }

    def lines(self) -> list[str]:
        """For people: hosts first."""
        _, *rows = self.change.lines()
        return [
            f"{self.distribution}/{self.arch}: {self.change.old[:12]} -> {self.change.new}",
            *(f"  {row}" for row in rows),
            *(f"  + advisory {name}" for name in self.advisories),
            *(f"  note: {note}" for note in self.notes),
        ]


def preview(settings: Settings, listener: Listener) -> tuple[Preview, ...]:
    """What publishing what is in the store now would change; may look while a run works."""
    shop = open_workshop(replace(settings, select=(), skip=(), only_streams=()), listener, exclusive=False)
    with shop.store:
        look_at_all(shop)
        shop.facts.keys.extend(told_keys(shop.settings, shop.configuration.matrix.integrity, None))
        actions = plan_units(shop)
        quiet = replace(shop, listener=ignore)
        outcomes = run_units(quiet, actions, build=False, check=False)
        unchecked = sum(o.result is not None and o.verdict is None for o in outcomes.values())
        absent = sum(o.result is None for o in outcomes.values())
        notes = [f"{absent} cells and packages are not in the store: repobuild plan says why"] if absent else []
        notes += [f"{unchecked} results are not qualified yet: taken as good here"] if unchecked else []
        outcomes = {name: _taken_as_good(outcome) for name, outcome in outcomes.items()}
        return tuple(
            _preview(shop, distribution, arch, outcomes, notes)
            for distribution in shop.configuration.matrix.distributions
            for arch in distribution.arches
        )


def _taken_as_good(outcome: UnitOutcome) -> UnitOutcome:
    if outcome.result is None or outcome.verdict is not None:
        return outcome
    return replace(outcome, verdict=Verdict(unit_id=outcome.unit.id, level=LEVEL.value, checks=()))


def _preview(
    shop: Workshop, distribution: Distribution, arch: str, everything: Mapping[str, UnitOutcome], notes: Sequence[str]
) -> Preview:
    outcomes = {i: o for i, o in everything.items() if (o.unit.distribution, o.unit.arch) == (distribution, arch)}
    streams = plan_streams(shop.configuration.matrix, distribution, arch, list(outcomes.values()))
    repository = Repository(shop.settings.repo_path)
    digest = repository.current(distribution.name, arch)
    old = Published(digest="nothing", packages={}, support={})
    known: set[str] = set()
    if digest is not None:
        generation = read_generation(repository.place(digest))
        support = read_support(shop.settings.repo_path, distribution.name, arch)
        if not support:
            raise PublishError(f"{generation.path}: its support matrix cannot be read", hint="repobuild verify")
        old = Published(digest=digest, packages=generation.nevras, support=support)
        known = advisory_ids(generation.path)
    support = support_matrix(support_facts(shop, distribution, arch, streams, outcomes))
    packages = dict.fromkeys(_nevras(shop, distribution, streams, outcomes), "")
    modular = distribution.delivery is Delivery.MODULAR
    packages |= {name: "" for name in old.packages if _stays(name, streams) or (modular and _is_release(name))}
    packages = {name: old.packages.get(name, "") for name in packages}
    errata = plan_errata(shop.configuration.matrix, distribution, arch, streams, outcomes)
    today = datetime.now(UTC).date().isoformat()
    early = [f"kernel {kernel} on stream {name}" for kernel, name, _ in left_early(old.support, support, today)]
    refused = "refused" if shop.configuration.matrix.retention.early == "refuse" else "in its lifetime"
    return Preview(
        distribution=distribution.name,
        arch=arch,
        change=difference(old, Published(digest=_NEXT, packages=packages, support=support)),
        advisories=tuple(a.id for a in errata if a.collections and a.id not in known),
        notes=(*notes, *(f"{refused}: {combination} would leave" for combination in early)),
    )


def _nevras(
    shop: Workshop, distribution: Distribution, streams: Sequence[StreamPlan], outcomes: Mapping[str, UnitOutcome]
) -> Iterator[str]:
    """Every package of the streams as far as it is known: late ones by the serial that they would have."""
    for plan in streams if not distribution.plain else ():
        for outcome in units_of_stream(plan, outcomes):
            yield from (a.nevra.artifact for a in (outcome.result.artifacts if outcome.result else ()))
    for unit, kernels in late_units(shop, outcomes).items():
        try:
            job = make_job(shop, unit, record=False, kernels=kernels)
        except RepobuildError:  # of this unit alone; publishing tells it
            continue
        result = shop.store.result(job.key) if job is not None else None
        if result is not None:
            yield from (artifact.nevra.artifact for artifact in result.artifacts)
        elif job is not None:
            yield package_nevra(unit, shop.configuration.matrix, serial=job.serial).artifact


def _is_release(nevra: str) -> bool:
    """The package that brings a repository with module streams: it and former ones stay."""
    return nevra.rsplit("-", 2)[0] == PackageKind.RELEASE.value


def _stays(nevra: str, streams: Sequence[StreamPlan]) -> bool:
    """A former gate or release package of a driver that some stream still carries."""
    versions = {driver.version for plan in streams for driver in plan.drivers}
    return any(nevra.startswith(f"{name}-") and f":{version}-" in nevra for name in _KEPT for version in versions)
