"""Which drivers a stream carries, decided from what was really built and qualified."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter

from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Distribution, Driver, Flavor, Kmods, Matrix, Profile, Stream
from builder.model.naming import OPTIONAL_PACKAGES, stream_package
from builder.model.nevra import Nevra
from builder.model.planning import StreamPlan, UnitOutcome
from builder.plan.units import candidates, streams_of

_KEPT = 2  # drivers of a stream that follows the newest: that one, and the one to go back to


@dataclass(frozen=True, slots=True, kw_only=True)
class Readiness:
    """How far a driver × flavor × way of delivery is on one distribution × arch."""

    usable: bool  # can be offered: packages whole and, where precompiled, at least one kernel has its module
    complete: bool  # and every live kernel has its module; one that a rule excludes has none
    reason: str  # why it is not usable or not complete
    served: frozenset[str] = frozenset()  # releases of kernels that have its module
    missing: frozenset[str] = frozenset()  # releases of kernels that should have it and do not


def readiness(
    driver: Driver,
    flavor: Flavor,
    kmods: Kmods,
    *,
    distribution: Distribution,
    arch: str,
    outcomes: Sequence[UnitOutcome],
) -> Readiness:
    """Judge one driver from the outcomes of its units (kmods, driver, cuda-drivers, dkms, meta)."""
    mine = [o for o in outcomes if _concerns(o.unit, driver, flavor, kmods, distribution, arch)]
    packages = [o for o in mine if o.unit.kind is not PackageKind.KMOD]
    broken = [o for o in packages if not o.ok]
    needed = {PackageKind.DRIVER, PackageKind.CUDA_DRIVERS}
    needed |= {PackageKind.DKMS if kmods is Kmods.DKMS else PackageKind.OBJECTS}
    absent = needed - {o.unit.kind for o in packages}
    if absent or broken:
        reason = broken[0].reason if broken else "not part of this matrix"
        name = broken[0].unit.kind.value if broken else min(absent)
        return Readiness(usable=False, complete=False, reason=f"no {name}: {reason}")
    if kmods is Kmods.DKMS:
        return Readiness(usable=True, complete=True, reason="complete")
    cells = [o for o in mine if o.unit.kind is PackageKind.KMOD]
    missing = [o for o in cells if not o.ok]
    if not cells or len(missing) == len(cells):
        reason = missing[0].reason if missing else "no kernel in the matrix"
        return Readiness(usable=False, complete=False, reason=f"no kmod for any kernel: {reason}")
    served = frozenset(o.unit.cell.kernel.release for o in cells if o.ok and o.unit.cell)
    if missing:
        without = tuple(o.unit.cell.kernel.release for o in missing if o.unit.cell)
        reason = f"no kmod for {', '.join(without)}: {missing[0].reason}"
        return Readiness(usable=True, complete=False, reason=reason, served=served, missing=frozenset(without))
    return Readiness(usable=True, complete=True, reason="complete", served=served)


def _concerns(unit: Unit, driver: Driver, flavor: Flavor, kmods: Kmods, distribution: Distribution, arch: str) -> bool:
    if unit.driver != driver or unit.distribution != distribution or unit.arch != arch:
        return False
    match unit.kind:
        case PackageKind.KMOD | PackageKind.OBJECTS:
            return kmods is Kmods.PRECOMPILED and unit.flavor is flavor
        case PackageKind.DKMS:
            return kmods is Kmods.DKMS and unit.flavor is flavor
        case PackageKind.OPEN_META | PackageKind.OPEN_SOURCE:
            return flavor is Flavor.OPEN
        case PackageKind.CERTIFICATE | PackageKind.DNF_PLUGIN | PackageKind.LIBDNF5_PLUGIN:
            return kmods is Kmods.PRECOMPILED
        case PackageKind.GATE | PackageKind.RELEASE:  # made for what is ready
            return False
        case _:
            return True


def plan_streams(
    matrix: Matrix, distribution: Distribution, arch: str, outcomes: Sequence[UnitOutcome]
) -> tuple[StreamPlan, ...]:
    """The drivers of each stream of a distribution × arch.

    A branch stream carries the usable drivers of its branch, but none that would take a kernel's modules away which an
    older one brought: its hosts could not upgrade. A stream without branch (``latest``) carries the newest *complete*
    driver, one whose packages and whose modules for every live kernel are there, and the complete one before it, so
    that its hosts can go back to what they had.
    """
    return tuple(_plan(s, matrix, distribution, arch, outcomes) for s in streams_of(matrix, distribution))


def _plan(
    stream: Stream, matrix: Matrix, distribution: Distribution, arch: str, outcomes: Sequence[UnitOutcome]
) -> StreamPlan:
    carried: list[Driver] = []
    held: list[tuple[str, str]] = []
    served: set[str] = set()
    for driver, _ in candidates(stream, matrix):
        ready = readiness(driver, stream.flavor, stream.kmods, distribution=distribution, arch=arch, outcomes=outcomes)
        if ready.complete or (ready.usable and stream.branch is not None and not ready.missing & served):
            carried.append(driver)
            served |= ready.served
        else:
            held.append((driver.version, ready.reason))
    if stream.branch is None:
        carried = carried[-_KEPT:]
    return StreamPlan(stream=stream, drivers=tuple(carried), held=tuple(held))


def units_of_stream(plan: StreamPlan, outcomes: Mapping[str, UnitOutcome]) -> tuple[UnitOutcome, ...]:
    """Outcomes whose RPMs belong into a stream: of its drivers, of its flavor and way of delivery, in id order.

    Where the stream stands in package names, only packages that carry it do.
    """
    stream = plan.stream
    return tuple(
        outcome
        for outcome in _of_its_drivers(plan, outcomes)
        if outcome.unit.label == (stream.label if outcome.unit.distribution.plain else None)
        and (outcome.unit.label is not None or belongs(outcome.unit, stream))
    )


def cells_of_stream(plan: StreamPlan, outcomes: Mapping[str, UnitOutcome]) -> tuple[UnitOutcome, ...]:
    """Outcomes of the cells whose modules a stream carries, in whatever package, in id order."""
    return tuple(
        outcome
        for outcome in _of_its_drivers(plan, outcomes)
        if outcome.unit.kind is PackageKind.KMOD and belongs(outcome.unit, plan.stream)
    )


def _of_its_drivers(plan: StreamPlan, outcomes: Mapping[str, UnitOutcome]) -> Iterator[UnitOutcome]:
    """Good outcomes of a stream's drivers in id order; each stream asks it of all units, so cheap questions first."""
    versions = {driver.version for driver in plan.drivers}
    found = [
        (unit_id, outcome)
        for unit_id, outcome in outcomes.items()
        if outcome.unit.driver.version in versions and outcome.ok and outcome.unit.driver in plan.drivers
    ]
    return (outcome for _, outcome in sorted(found, key=itemgetter(0)))


def offered_profiles(
    stream: Stream, version: str, packages: Iterable[Nevra], label: str | None = None
) -> tuple[Profile, ...]:
    """The profiles of a stream whose newest driver is ``version``: not those that name what only other drivers have.

    ``label``: the stream's, where it stands in package names; then the profiles have the names of its packages.
    A profile that lacks anything else is left in, for the publication to refuse it.
    """
    names = {nevra.name for nevra in packages if nevra.evr.version == version}
    optional = {stream_package(name, label) for name in OPTIONAL_PACKAGES}
    profiles = (
        replace(p, packages=tuple(dict.fromkeys(stream_package(name, label) for name in p.packages)))
        for p in stream.profiles
    )
    return tuple(p for p in profiles if not (set(p.packages) & optional) - names)


def belongs(unit: Unit, stream: Stream) -> bool:
    """Whether a unit of one of its drivers is part of a stream, by its flavor and way of delivery."""
    match unit.kind:
        case PackageKind.KMOD | PackageKind.OBJECTS:
            return stream.kmods is Kmods.PRECOMPILED and unit.flavor is stream.flavor
        case PackageKind.CERTIFICATE | PackageKind.DNF_PLUGIN | PackageKind.LIBDNF5_PLUGIN:
            return stream.kmods is Kmods.PRECOMPILED
        case PackageKind.GATE:
            return unit.kmods is stream.kmods and unit.flavor is stream.flavor
        case PackageKind.RELEASE:
            return unit.stream == stream.name
        case PackageKind.DKMS:
            return stream.kmods is Kmods.DKMS and unit.flavor is stream.flavor
        case PackageKind.OPEN_META | PackageKind.OPEN_SOURCE:
            return stream.flavor is Flavor.OPEN
        case _:
            return True
