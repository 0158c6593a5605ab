"""Which advisories a distribution has: one a driver release, one a kernel with modules. Pure; docs/errata.md.

A driver's names the packages of that driver in each stream, without modules and gate, which are made again for every
kernel. A kernel's names its module and the gate that lets it in. What an advisory once asked for is what it goes on
asking for; that is decided where former publications are seen.
"""

from __future__ import annotations

import calendar
import time
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from builder.model.cells import PackageKind
from builder.model.errata import Advisory, AdvisoryCollection, AdvisoryFacts, AdvisoryKind
from builder.model.matrix import Distribution, Kmods, Matrix
from builder.model.nevra import Nevra
from builder.model.planning import StreamPlan, UnitOutcome
from builder.plan.streams import cells_of_stream, units_of_stream

_MODULES = (PackageKind.KMOD, PackageKind.STREAM_KMODS)
_OF_KERNELS = (*_MODULES, PackageKind.GATE, PackageKind.RELEASE)  # serials of their own
_Carried = Mapping[str, tuple[UnitOutcome, ...]]  # units of each stream, by its name


def plan_errata(
    matrix: Matrix,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
) -> tuple[Advisory, ...]:
    """The advisories of a distribution × arch, by id; ``issued`` is 0 where nothing says when.

    Drivers of the matrix that no stream carries now have one without collections: what a former publication said of
    them may go on standing.
    """
    carried = {plan.stream.name: units_of_stream(plan, outcomes) for plan in streams}
    found = [
        *_of_drivers(matrix, distribution, streams, carried),
        *_of_modules(matrix, distribution, arch, streams, outcomes, carried),
    ]
    return tuple(sorted(found, key=lambda advisory: advisory.id))


def _of_drivers(
    matrix: Matrix, distribution: Distribution, streams: Sequence[StreamPlan], carried: _Carried
) -> Iterator[Advisory]:
    for driver in (driver for branch in matrix.branches for driver in branch.drivers):
        members = {
            plan.stream.name: [
                o for o in carried[plan.stream.name] if o.unit.driver == driver and o.unit.kind not in _OF_KERNELS
            ]
            for plan in streams
            if driver in plan.drivers
        }
        yield _advisory(
            matrix,
            distribution,
            AdvisoryKind.DRIVER,
            name=driver.version,
            title=f"NVIDIA driver {driver.version} for {distribution.title}",
            text=f"Driver {driver.version} of branch R{driver.branch}.",
            facts=driver.advisory,
            members=members,
        )


def _of_modules(
    matrix: Matrix,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
    carried: _Carried,
) -> Iterator[Advisory]:
    letting_in = {
        plan.stream.name: _letting_in(plan, cells_of_stream(plan, outcomes), carried[plan.stream.name])
        for plan in streams
        if plan.stream.kmods is Kmods.PRECOMPILED
    }
    for kernel in (k for k in distribution.kernels if k.arch == arch and k.live):
        members = {stream: found.get(kernel.release, []) for stream, found in letting_in.items()}
        yield _advisory(
            matrix,
            distribution,
            AdvisoryKind.KERNEL,
            name=f"kernel-{kernel.release}",
            title=f"NVIDIA kernel modules for kernel {kernel.release}",
            text=f"Kernel {kernel.release} ({kernel.core}) can be installed: its NVIDIA modules are there.",
            facts=kernel.advisory,
            members=members,
        )


def _letting_in(
    plan: StreamPlan, cells: Iterable[UnitOutcome], units: Iterable[UnitOutcome]
) -> dict[str, list[UnitOutcome]]:
    """By kernel release: module and gate of the stream's newest driver that has a module for it.

    One look at all units for all kernels: thousands of cells are kernels × drivers.
    """
    served: defaultdict[str, set[str]] = defaultdict(set)  # driver versions by kernel release
    for outcome in cells:
        if outcome.unit.cell is not None:
            served[outcome.unit.cell.kernel.release].add(outcome.unit.driver.version)
    own: defaultdict[tuple[str, str | None], list[UnitOutcome]] = defaultdict(list)  # None: serves each kernel
    for outcome in units:
        unit = outcome.unit
        if unit.kind is PackageKind.KMOD and unit.cell is not None:
            own[unit.driver.version, unit.cell.kernel.release].append(outcome)
        elif unit.kind in (PackageKind.STREAM_KMODS, PackageKind.GATE):
            own[unit.driver.version, None].append(outcome)
    found = {}
    for release, versions in served.items():
        newest = next(driver.version for driver in reversed(plan.drivers) if driver.version in versions)
        found[release] = [*own[newest, release], *own[newest, None]]
    return found


def _advisory(
    matrix: Matrix,
    distribution: Distribution,
    kind: AdvisoryKind,
    *,
    name: str,
    title: str,
    text: str,
    facts: AdvisoryFacts,
    members: Mapping[str, Sequence[UnitOutcome]],
) -> Advisory:
    return Advisory(
        id=f"{matrix.advisory_prefix}-{distribution.name}-{name}",
        kind=kind,
        title=title,
        description=facts.text or text,
        issued=_issued(facts, (o for outcomes in members.values() for o in outcomes)),
        vendor=matrix.vendor,
        release=distribution.title,
        collections=tuple(
            AdvisoryCollection(stream=stream, packages=_packages(outcomes))
            for stream, outcomes in sorted(members.items())
            if outcomes
        ),
        severity=facts.severity,
        cves=facts.cves,
        references=facts.references,
        dated=facts.issued is not None,
    )


def _packages(outcomes: Iterable[UnitOutcome]) -> tuple[Nevra, ...]:
    found = {str(a.nevra): a.nevra for o in outcomes if o.result is not None for a in o.result.artifacts}
    return tuple(nevra for _, nevra in sorted(found.items()))


def _issued(facts: AdvisoryFacts, outcomes: Iterable[UnitOutcome]) -> int:
    """What matrix.yaml says, else the newest date of what the packages were made of; never this machine's clock."""
    if facts.issued is not None:
        return calendar.timegm(time.strptime(facts.issued, "%Y-%m-%d"))
    return max((o.result.source_date_epoch for o in outcomes if o.result is not None), default=0)
