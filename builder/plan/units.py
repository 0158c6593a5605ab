"""From cells and streams to units: every SRPM that the publication of a matrix can need."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from builder.model.cells import Cell, PackageKind, Unit
from builder.model.matrix import Distribution, Driver, Flavor, Kmods, Matrix, Stream
from builder.model.naming import ARCHIVE_KINDS, COMPAT32_ARCHES, DNF_PLUGINS
from builder.model.nevra import compare_evr


def drivers_by_version(matrix: Matrix) -> tuple[tuple[Driver, bool], ...]:
    """All drivers, oldest version first, each with whether it is the newest of its branch."""
    pairs = [(driver, driver == branch.drivers[-1]) for branch in matrix.branches for driver in branch.drivers]
    return tuple(sorted(pairs, key=lambda pair: _VersionKey(pair[0].version)))


class _VersionKey:
    """Orders version strings as rpm does."""

    __slots__ = ("version",)

    def __init__(self, version: str) -> None:
        self.version = version

    def __lt__(self, other: _VersionKey) -> bool:
        return compare_evr(self.version, other.version) < 0


def streams_of(matrix: Matrix, distribution: Distribution) -> tuple[Stream, ...]:
    """The streams offered on a distribution, in the matrix's order."""
    return tuple(s for s in matrix.streams if not s.distributions or distribution.name in s.distributions)


def candidates(stream: Stream, matrix: Matrix) -> tuple[tuple[Driver, bool], ...]:
    """Drivers that a stream may carry (branch and flavor fit), oldest first, with their newest-of-branch flag."""
    return tuple((driver, newest) for driver, newest in drivers_by_version(matrix) if may_carry(stream, driver))


def may_carry(stream: Stream, driver: Driver) -> bool:
    """Whether branch and flavor of a driver fit a stream."""
    return stream.branch in (None, driver.branch) and stream.flavor in driver.flavors


def kmod_unit(cell: Cell) -> Unit:
    """The unit that builds a cell's kmod package."""
    return Unit(
        kind=PackageKind.KMOD,
        driver=cell.driver,
        newest=cell.newest,
        distribution=cell.distribution,
        arch=cell.arch,
        flavor=cell.flavor,
        kmods=Kmods.PRECOMPILED,
        cell=cell,
    )


def package_units(matrix: Matrix, cells: Sequence[Cell], *, signed: bool = False) -> tuple[Unit, ...]:
    """Units around the kmods: driver, cuda-drivers, nvidia-open, objects and dkms packages, without the gates.

    32-bit libraries have one wherever an architecture has such: whether an archive holds any is seen once it is here.

    ``signed``: the kernel modules are, and their certificate is a package too.

    A driver that no stream of a distribution can use there yields none; the source package exists where a profile names
    it. Order: distribution, arch, version, kind.
    """
    units: list[Unit] = []
    for distribution in matrix.distributions:
        for arch in distribution.arches:
            around = _around(matrix, distribution, arch, cells)
            units.extend(u for u in around if signed or u.kind is not PackageKind.CERTIFICATE)
    return tuple(units)


def _around(matrix: Matrix, distribution: Distribution, arch: str, cells: Sequence[Cell]) -> Iterator[Unit]:
    of_driver: dict[str, list[Cell]] = {}
    for cell in cells:
        of_driver.setdefault(cell.driver.version, []).append(cell)
    for driver, newest in drivers_by_version(matrix):
        if driver.source("run", arch) is None:
            continue
        combinations = gate_combinations(matrix, distribution, arch, driver, of_driver.get(driver.version, ()))
        if not combinations:
            continue
        base = Unit(kind=PackageKind.DRIVER, driver=driver, newest=newest, distribution=distribution, arch=arch)
        yield base
        if arch in COMPAT32_ARCHES:
            yield _as(base, PackageKind.COMPAT32)
        for kind, source in ARCHIVE_KINDS.items():
            if driver.source(source, arch) is not None:
                yield _as(base, kind)
        yield _as(base, PackageKind.CUDA_DRIVERS)
        if any(flavor is Flavor.OPEN for flavor, _ in combinations):
            yield _as(base, PackageKind.OPEN_META)
            if _in_a_profile(PackageKind.OPEN_SOURCE, matrix, distribution, driver):
                yield _as(base, PackageKind.OPEN_SOURCE, flavor=Flavor.OPEN)
        if any(kmods is Kmods.PRECOMPILED for _, kmods in combinations):
            yield _as(base, PackageKind.CERTIFICATE)
            for dnf in () if distribution.plain else distribution.dnf:
                yield _as(base, DNF_PLUGINS[dnf])
        for flavor, kmods in combinations:
            kind = PackageKind.DKMS if kmods is Kmods.DKMS else PackageKind.OBJECTS
            yield _as(base, kind, flavor=flavor)


def _in_a_profile(kind: PackageKind, matrix: Matrix, distribution: Distribution, driver: Driver) -> bool:
    """Whether a stream that may carry the driver installs that package with a profile."""
    return any(
        kind.value in profile.packages
        for stream in streams_of(matrix, distribution)
        if may_carry(stream, driver)
        for profile in stream.profiles
    )


def _as(base: Unit, kind: PackageKind, *, flavor: Flavor | None = None, kmods: Kmods | None = None) -> Unit:
    return Unit(
        kind=kind,
        driver=base.driver,
        newest=base.newest,
        distribution=base.distribution,
        arch=base.arch,
        flavor=flavor,
        kmods=kmods,
    )


def gate_combinations(
    matrix: Matrix, distribution: Distribution, arch: str, driver: Driver, cells: Sequence[Cell]
) -> tuple[tuple[Flavor, Kmods], ...]:
    """Which (flavor, kmods) of a driver the streams of a distribution use; precompiled only where a cell exists."""
    found: set[tuple[Flavor, Kmods]] = set()
    with_cells = {c.flavor for c in cells if c.driver == driver and c.distribution == distribution and c.arch == arch}
    for stream in streams_of(matrix, distribution):
        if not may_carry(stream, driver):
            continue
        if stream.kmods is Kmods.DKMS or stream.flavor in with_cells:
            found.add((stream.flavor, stream.kmods))
    return tuple(sorted(found, key=lambda pair: (pair[1].value, pair[0].value), reverse=True))


def gate_unit(base: Unit, flavor: Flavor, kmods: Kmods) -> Unit:
    """The gate of a driver × flavor × way of delivery."""
    return _as(base, PackageKind.GATE, flavor=flavor, kmods=kmods)


def release_unit(base: Unit, stream: Stream) -> Unit:
    """The package that selects a stream where there are no modules."""
    return replace(_as(base, PackageKind.RELEASE), stream=stream.name)


def repository_unit(base: Unit) -> Unit:
    """The package that brings a repository with module streams to a host."""
    return _as(base, PackageKind.RELEASE)


# What has no package of its own where the stream stands in names: a capability of the stream's nvidia-driver.
_FOLDED = (
    PackageKind.CUDA_DRIVERS,
    PackageKind.OPEN_META,
    PackageKind.DNF_PLUGIN,
    PackageKind.LIBDNF5_PLUGIN,
    PackageKind.KMOD,
)


def stream_units(stream: Stream, units: Iterable[Unit]) -> tuple[Unit, ...]:
    """The packages of one driver in a stream that stands in their names; ``units`` are the driver's that belong to it.

    The package that says which stream, the gate, the modules (one package for all kernels, or DKMS's sources), and each
    of ``units`` under the stream's name.
    """
    mine = [unit for unit in units if unit.kind not in _FOLDED]
    base = next(unit for unit in mine if unit.kind is PackageKind.DRIVER)
    own = [release_unit(base, stream), gate_unit(base, stream.flavor, stream.kmods)]
    own += [_as(base, PackageKind.STREAM_KMODS)] if stream.kmods is Kmods.PRECOMPILED else []
    return tuple(replace(unit, label=stream.label, flavor=stream.flavor, kmods=stream.kmods) for unit in (*own, *mine))
