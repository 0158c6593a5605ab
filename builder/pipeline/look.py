"""Look at a work folder: status, one cell's story, the support matrix of what is current."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from builder.errors import SelectionError
from builder.model.cells import Action, Decision
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop, plan_units
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import make_job
from builder.pipeline.verdicts import read_verdict
from builder.pipeline.workshop import Workshop
from builder.publish import current_generation
from builder.store import Attempt, Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counts, failures and current generations of a work folder."""

    work: str
    results: int
    decisions: dict[str, int]
    failures: tuple[Failure, ...]
    publications: dict[str, str]  # <distribution>/<arch> → digest

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "work": self.work,
            "results": self.results,
            "decisions": self.decisions,
            "failures": [_failure_document(f) for f in self.failures],
            "publications": self.publications,
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"work        {self.work}", f"results     {self.results}"]
        lines.append("next run    " + ", ".join(f"{n} {what}" for what, n in self.decisions.items() if n))
        lines.extend(f"current     {where} {digest}" for where, digest in self.publications.items())
        lines.extend(f"failed      {f.unit_id}: {f.stage}: {f.message}" for f in self.failures)
        return lines


def _failure_document(failure: Failure) -> dict[str, object]:
    return {
        "unit": failure.unit_id,
        "stage": failure.stage,
        "code": failure.code,
        "message": failure.message,
        "details": list(failure.details),
        "log": str(failure.log) if failure.log else None,
        "happened": datetime.fromtimestamp(failure.happened, UTC).isoformat(timespec="seconds"),
    }


def status_of(settings: Settings) -> Status:
    """What the work folder holds and what the next run would do; changes nothing."""
    shop = open_workshop(settings, ignore, exclusive=False)
    with shop.store:
        look_at_all(shop)
        actions = plan_units(shop)
        failures = [shop.store.ledger.failure(u.scope) for u in shop.configuration.units]
        current = {
            f"{d.name}/{arch}": digest
            for d in shop.configuration.matrix.distributions
            for arch in d.arches
            if (digest := current_generation(settings.repo_path, d.name, arch)) is not None
        }
        return Status(
            work=str(settings.work.absolute()),
            results=len(shop.store.ledger.result_keys()),
            decisions={d.value: sum(a.decision is d for a in actions) for d in Decision},
            failures=tuple(f for f in failures if f is not None),
            publications=current,
        )


def explain(settings: Settings, unit_id: str) -> dict[str, object]:
    """Everything known of one unit, in reading order; raises SelectionError with near names when there is none."""
    shop = open_workshop(settings, ignore, exclusive=False)
    with shop.store:
        look_at_all(shop)
        actions = {a.unit.id: a for a in plan_units(shop)}
        if unit_id not in actions:
            near = get_close_matches(unit_id, actions, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "repobuild cells lists them"
            raise SelectionError(f"{unit_id}: no such cell or package in this matrix", hint=hint)
        return _story(shop, actions[unit_id])


def _story(shop: Workshop, action: Action) -> dict[str, object]:
    unit = action.unit
    document: dict[str, object] = {
        "id": unit.id,
        "decision": action.decision.value,
        "reason": action.reason,
    }
    if action.hint:
        document["next"] = action.hint
    if unit.cell is not None:
        kernel = unit.cell.kernel
        document["driver"] = f"{unit.driver.version} ({unit.driver.branch}, {unit.flavor}), {unit.driver.read_from}"
        document["kernel"] = f"{kernel.core}, {kernel.devel}, read from {kernel.read_from}"
        document["compiler"] = f"{kernel.compiler.command} (package {kernel.compiler.package})"
    job = make_job(shop, unit, record=False) if action.decision is not Decision.BLOCKED else None
    if job is not None:
        document["key"] = job.key
        document["made of"] = [
            f"spec {job.spec.filename}",
            *(f"source {s.filename} {s.sha256}" for s in job.spec.sources),
            *([f"modules {job.modules.key}, signer {shop.signing.identity}"] if job.modules else []),
            *(f"source {s.filename} {s.sha256}" for s in (job.modules.spec.sources if job.modules else ())),
            f"buildroot {job.buildroot.identity}",
            *([f"kernel-devel {job.devel.sha256}"] if job.devel else []),
        ]
        compiled = shop.store.folder("modules", job.modules.key) if job.modules else None
        if compiled is not None:
            document["compiled"] = str(compiled)
        # Nothing was built under this key (with other options, then): the newest build tells more than nothing.
        keys = [job.key, *shop.store.ledger.keys_of(unit.scope)]
        result = next((found for key in keys if (found := shop.store.result(key)) is not None), None)
        if result is not None:
            if result.key != job.key:
                document["shown"] = f"the newest build, of key {result.key}"
            document["result"] = [str(a.nevra) for a in result.artifacts]
            document["built in"] = f"{result.seconds:.0f} s"
            document["logs"] = str(result.folder)
            verdicts = [read_verdict(text) for text in shop.store.ledger.verdicts_of(result.key)]
            if verdicts:
                document["checks"] = [
                    f"{c.outcome}: {v.level}: {c.name}: {'; '.join(c.evidence[: None if c.outcome == 'failed' else 3])}"
                    for v in verdicts
                    for c in v.checks
                ]
    failure = shop.store.ledger.failure(unit.scope)
    attempts = shop.store.ledger.history.attempts(unit.id)
    if attempts:
        document["attempts"] = [_attempt_line(attempt) for attempt in attempts]
    if failure is not None:
        document["failed"] = [f"{failure.stage}: {failure.message}", *failure.details]
        document["log"] = str(failure.log)
    return document


def _attempt_line(attempt: Attempt) -> str:
    when = datetime.fromtimestamp(attempt.happened, UTC).isoformat(timespec="seconds")
    then = f"tried again after {attempt.wait:g} s" if attempt.wait else "given up"
    return f"{when} {attempt.stage}, attempt {attempt.number}: {attempt.message}: {then}"


def support_of(settings: Settings) -> list[tuple[str, dict[str, object]]]:
    """``(<distribution>/<arch>, support matrix)`` of every current publication, as it was published."""
    shop = open_workshop(settings, ignore, exclusive=False)
    found = []
    with shop.store:
        for distribution in shop.configuration.matrix.distributions:
            for arch in distribution.arches:
                path = settings.repo_path / distribution.name / arch / "support-matrix.json"
                if path.is_file():
                    found.append((f"{distribution.name}/{arch}", json.loads(path.read_text())))
    return found
