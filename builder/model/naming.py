"""Names, versions and capabilities of every package (docs/adr/0006-package-design.md). Pure.

One rule for all: Name says what it is (a kmod: for which kernel), Version is the driver's, flavor stands in Release.
Every package is of its repository's architecture, none is noarch: the same file name would otherwise stand in two
repositories with other bytes.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from builder.model.cells import Cell, PackageKind, Unit
from builder.model.matrix import Distribution, Dnf, Driver, Flavor, Kernel, Kmods, Matrix, PackageRef
from builder.model.nevra import Evr, Nevra

# The driver SRPM's binary packages; which of them exist depends on what the .run holds.
DRIVER_PACKAGES = (
    "nvidia-driver",
    "nvidia-driver-libs",
    "nvidia-driver-cuda",
    "nvidia-driver-cuda-libs",
    "nvidia-firmware",
    "nvidia-modprobe",
)

# Those of them that also exist for 32-bit programs, and the architecture of these packages beside a repository's own.
COMPAT32_PACKAGES = ("nvidia-driver-libs", "nvidia-driver-cuda-libs")
COMPAT32_ARCHES = {"x86_64": "i686"}
_ISA = {"x86_64": "x86-64", "i686": "x86-32", "aarch64": "aarch-64", "ppc64le": "ppc-64"}  # rpm's %_isa

# What is made of an archive that NVIDIA publishes beside the .run: the kind of its source in matrix.yaml, its packages.
ARCHIVE_KINDS = {
    PackageKind.FABRICMANAGER: "fabricmanager",
    PackageKind.NSCQ: "nscq",
    PackageKind.IMEX: "imex",
}
FABRICMANAGER_PACKAGES = ("nvidia-fabricmanager", "nvidia-fabricmanager-devel")
# What holds kernels back one by one, by the package manager that loads it.
DNF_PLUGINS = {Dnf.DNF4: PackageKind.DNF_PLUGIN, Dnf.DNF5: PackageKind.LIBDNF5_PLUGIN}
# Packages that only some drivers have. A profile that names one is offered where the stream's newest driver has it.
OPTIONAL_PACKAGES = (
    *FABRICMANAGER_PACKAGES,
    PackageKind.NSCQ.value,
    PackageKind.IMEX.value,
    PackageKind.OPEN_SOURCE.value,
)
# Everything that a switch moves, as shell patterns: what ``nvidia-driver-stream`` names to dnf.
OWN_PACKAGES = (
    *DRIVER_PACKAGES,
    *FABRICMANAGER_PACKAGES,
    *(
        kind.value
        for kind in PackageKind
        if kind not in (PackageKind.DRIVER, PackageKind.KMOD, PackageKind.STREAM_KMODS, PackageKind.FABRICMANAGER)
    ),
    f"{PackageKind.KMOD.value}-*",
)
STREAM_VARIABLE = "nvidiastream"  # of dnf: which stream a host follows where there are no modules
RELEASE_FILE = (
    f"{PackageKind.RELEASE.value}.rpm"  # beside the metadata: the newest such package, under a name that stays
)
# Where the stream stands in package names (ADR 0020): what its modules' package is called, whether they are joined or
# compiled on the host, and what has no package of its own but is a capability of nvidia-driver's.
STREAM_MODULES = "kmod-nvidia"
_FOLDED = ("cuda-drivers", "nvidia-open")
SERVED = "nvidia-kmod-kernel"

PARTS = "/usr/lib/nvidia-kmod"
CONFTEST_ANSWERS = "conftest-answers"  # a source of the modules' spec, and a file of what that leaves


def kmod_name(kernel: Kernel) -> str:
    """``kmod-nvidia-<uname -r without its arch>``."""
    return f"kmod-nvidia-{kernel.label}"


def kmod_nevra(cell: Cell, matrix: Matrix, *, serial: int = 1) -> Nevra:
    """The kmod package of a cell."""
    release = f"{serial}{cell.flavor.release_tag}{cell.distribution.dist_tag}"
    evr = Evr(epoch=matrix.epoch, version=cell.driver.version, release=release)
    return Nevra(name=kmod_name(cell.kernel), evr=evr, arch=cell.arch)


def kmod_long_name(cell: Cell) -> str:
    """The name that NVIDIA's own precompiled packages carry; a Provides of ours."""
    return f"kmod-nvidia{cell.flavor.suffix}-{cell.driver.version}-{cell.kernel.label}"


def kmod_folder(kernel: Kernel) -> str:
    """Where the modules of a kernel stand once they are joined."""
    return f"/lib/modules/{kernel.release}/extra/nvidia"


def kmod_parts(kernel: Kernel) -> str:
    """Where a kmod package keeps what its modules are joined from on the host."""
    return f"{PARTS}/{kernel.release}"


def objects_folder(driver: Driver, flavor: Flavor) -> str:
    """Where the objects of a driver × flavor lie on the host."""
    return f"{PARTS}/objects/{driver.version}-{flavor.value}"


def object_capability(sha256: str) -> str:
    """What a package provides that brings the object of that digest."""
    return f"nvidia-kmod-object({sha256})"


# What a package provides whose nvidia-kmod-join reads packed modules as they are packed now: one that knew only an
# older form must not meet them.
JOIN_CAPABILITY = "nvidia-kmod-join(2)"


def modules_nevra(cell: Cell, matrix: Matrix) -> Nevra:
    """The package that a cell's modules leave the buildroot in; never published."""
    kmod = kmod_nevra(cell, matrix)
    return Nevra(name=f"nvidia-modules-{cell.kernel.label}", evr=kmod.evr, arch=kmod.arch)


def stream_package(base: str, label: str | None) -> str:
    """The name of a package in the stream of that label; without one its plain name.

    ``nvidia-driver-branch-535``, ``nvidia-driver-branch-535-libs``, ``nvidia-modprobe-branch-535``: as NVIDIA's own
    for EL7 were named.
    """
    if label is None:
        return base
    main = "nvidia-driver"
    if base == main or (base.startswith(_FOLDED) and base != PackageKind.OPEN_SOURCE.value):
        return f"{main}-{label}"
    if base in (PackageKind.DKMS.value, PackageKind.STREAM_KMODS.value):
        return f"{STREAM_MODULES}-{label}"
    if base.startswith(f"{main}-"):
        return f"{main}-{label}{base.removeprefix(main)}"
    return f"{base}-{label}"


def stream_packages(label: str) -> frozenset[str]:
    """The name of every package that a stream of that label can have."""
    kinds = (kind.value for kind in PackageKind if kind is not PackageKind.KMOD)
    return frozenset(stream_package(base, label) for base in (*DRIVER_PACKAGES, *FABRICMANAGER_PACKAGES, *kinds))


def name_for(unit: Unit, base: str) -> str:
    """As ``stream_package``, for a unit's own stream."""
    return stream_package(base, unit.label)


def stream_provides(unit: Unit, base: str, evr: Evr) -> tuple[str, ...]:
    """What a stream's package provides: its plain name, so that others need not know the stream."""
    if unit.label is None:
        return ()
    return f"{base} = {evr}", f"{of_arch(base, package_arch(unit))} = {evr}"


def stream_requires(unit: Unit, matrix: Matrix) -> tuple[str, ...]:
    """What each package of a stream requires: the one that says which stream and version, so that all move together."""
    if unit.label is None or unit.kind is PackageKind.RELEASE:
        return ()
    return (f"{name_for(unit, PackageKind.RELEASE.value)} = {driver_ev(unit.driver, matrix)}",)


def stream_mark(label: str) -> str:
    """A label as a version: each stream provides its own and conflicts with lower and higher ones, not with itself."""
    return label.replace("-", ".")


def served_capability(core: PackageRef) -> str:
    """What a package provides that has modules for that kernel."""
    return f"{SERVED}({core.name}) = {core.evr}"


def gate_nevra(unit: Unit, serial: int, matrix: Matrix) -> Nevra:
    """The gate of a driver × flavor × way of delivery; raises ValueError for a unit that is no gate."""
    if unit.kind is not PackageKind.GATE:
        raise ValueError(f"{unit.id} is not a gate")
    return package_nevra(unit, matrix, serial=serial)


def driver_evr(driver: Driver, distribution: Distribution, matrix: Matrix, *, serial: int = 1) -> Evr:
    """EVR of the packages around a driver that have no flavor: nvidia-driver and its subpackages, the metas."""
    return Evr(epoch=matrix.epoch, version=driver.version, release=f"{serial}{distribution.dist_tag}")


def driver_ev(driver: Driver, matrix: Matrix) -> str:
    """``epoch:version``: how the packages of one driver require each other across flavors and serials."""
    return f"{matrix.epoch}:{driver.version}"


def beyond_ours(matrix: Matrix) -> str:
    """An EVR above all that this matrix can make: ``Obsoletes: name < …`` with it covers every version.

    A plain ``< 9999`` has epoch 0 and covers nothing of epoch 3.
    """
    return f"{matrix.epoch + 1}:0"


def dkms_capability(flavor: Flavor) -> str:
    """What tells the two dkms-nvidia packages of one driver version apart."""
    return f"dkms-nvidia({flavor.value})"


def gate_capability(flavor: Flavor) -> str:
    """What a gate provides beside ``nvidia-kmod``: which flavor it lets in."""
    return f"nvidia-kmod({flavor.value})"


def package_arch(unit: Unit) -> str:
    """The architecture of a unit's packages: its repository's, but the 32-bit one of libraries for 32-bit programs."""
    return COMPAT32_ARCHES[unit.arch] if unit.kind is PackageKind.COMPAT32 else unit.arch


def repository_arch(arches: Iterable[str]) -> str | None:
    """The architecture of a repository that holds packages of these; None where all are for any."""
    found = set(arches) - {"src", "noarch"}
    own = found - set(COMPAT32_ARCHES.values()) or found
    return min(own, default=None)


def of_arch(name: str, arch: str) -> str:
    """The capability that only that architecture's package of this name has: ``nvidia-driver-libs(x86-64)``."""
    return f"{name}({_ISA[arch]})"


def package_nevra(unit: Unit, matrix: Matrix, *, serial: int = 1) -> Nevra:
    """The unit's main binary package: same name as its spec template, but a kmod's carries its kernel.

    The 32-bit libraries have none: there the name is the source package's alone.
    """
    if unit.cell is not None:
        return kmod_nevra(unit.cell, matrix, serial=serial)
    if unit.of_repository:
        evr = Evr(
            epoch=matrix.epoch, version=_number(unit.distribution), release=f"{serial}{unit.distribution.dist_tag}"
        )
        return Nevra(name=unit.kind.value, evr=evr, arch=unit.arch)
    if unit.label is not None:
        evr = driver_evr(unit.driver, unit.distribution, matrix, serial=serial)
        return Nevra(name=name_for(unit, unit.kind.value), evr=evr, arch=package_arch(unit))
    flavor = unit.flavor.release_tag if unit.flavor else ""
    dkms = ".dkms" if unit.kind is PackageKind.GATE and unit.kmods is Kmods.DKMS else ""
    # A Release has no dashes. Streams whose names differ in them only would be two RPMs of one name: publish refuses.
    stream = f".{unit.stream.replace('-', '.')}" if unit.stream else ""
    release = f"{serial}{flavor}{dkms}{stream}{unit.distribution.dist_tag}"
    evr = Evr(epoch=matrix.epoch, version=unit.driver.version, release=release)
    return Nevra(name=unit.kind.value, evr=evr, arch=package_arch(unit))


def _number(distribution: Distribution) -> str:
    """The distribution's own number, as release packages have it elsewhere: the next distribution's is newer."""
    found = re.search(r"[0-9]+", distribution.platform)
    return found[0] if found else "1"


def package_nevras(unit: Unit, matrix: Matrix, *, serial: int = 1) -> tuple[Nevra, ...]:
    """All binary packages that a unit may yield, its main package first where it has one."""
    main = package_nevra(unit, matrix, serial=serial)
    names = [name_for(unit, base) for base in _SEVERAL[unit.kind]] if unit.kind in _SEVERAL else [main.name]
    return tuple(Nevra(name=name, evr=main.evr, arch=main.arch) for name in names)


def plain_names(unit: Unit) -> dict[str, str]:
    """The plain name of each package that a unit may yield, by the name it has."""
    return {name_for(unit, base): base for base in _SEVERAL.get(unit.kind, (unit.kind.value,))}


_SEVERAL = {
    PackageKind.DRIVER: DRIVER_PACKAGES,
    PackageKind.COMPAT32: COMPAT32_PACKAGES,
    PackageKind.FABRICMANAGER: FABRICMANAGER_PACKAGES,
}
