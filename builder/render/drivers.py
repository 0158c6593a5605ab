"""The user-space packages of a driver, from the manifest of its .run: its own and those for 32-bit programs."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Flavor, Matrix
from builder.model.naming import (
    COMPAT32_ARCHES,
    COMPAT32_PACKAGES,
    DRIVER_PACKAGES,
    driver_ev,
    of_arch,
    package_arch,
    package_nevra,
)
from builder.model.nevra import Evr, Nevra
from builder.model.sources import DriverSources, SpecFile
from builder.render.manifest import (
    CUDA,
    CUDA_LIBS,
    DRIVER,
    FIRMWARE,
    LIBS,
    MODPROBE,
    Placed,
    has_compat32,
    owned_folders,
    place_files,
)
from builder.render.packages import BinaryPackage
from builder.render.templates import fill_spec
from builder.render.values import require_nevra, require_payload, require_word

_SUMMARIES = {
    DRIVER: "NVIDIA driver: display server parts and tools",
    LIBS: "NVIDIA driver: OpenGL, EGL, Vulkan and video libraries",
    CUDA: "NVIDIA driver: nvidia-smi and the tools around CUDA",
    CUDA_LIBS: "NVIDIA driver: libraries that CUDA programs and containers need",
    FIRMWARE: "NVIDIA driver: firmware of the GPU system processor",
    MODPROBE: "NVIDIA driver: creates device nodes for users other than root",
}
_DESCRIPTIONS = {
    DRIVER: "The NVIDIA driver without CUDA: what a display server loads, system integration and the bug report tool.",
    LIBS: "Libraries that OpenGL, EGL, Vulkan and VDPAU programs load through the distribution's own loaders.",
    CUDA: "nvidia-smi, the CUDA multi-process service and the OpenCL registration.",
    CUDA_LIBS: "libcuda, NVML, the PTX compiler, OpenCL, video coding. Needs no kernel module: containers use it.",
    FIRMWARE: "Loaded by the kernel modules of exactly this version; several versions can lie side by side.",
    MODPROBE: "A setuid helper that loads kernel modules and creates device nodes when the first user needs them.",
}
# Weak, because headless hosts need none; the names are EL's.
_LOADERS = ("libglvnd-egl", "libglvnd-gles", "libglvnd-glx", "libglvnd-opengl", "vulkan-loader", "egl-wayland")
_LOADERS32 = ("libglvnd-egl", "libglvnd-gles", "libglvnd-glx", "libglvnd-opengl", "vulkan-loader")
GATE = PackageKind.GATE.value


def render_driver(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-driver with the subpackages for which the archive has files.

    A compute-only archive yields nvidia-driver without display files and no nvidia-driver-libs. nvidia-firmware exists
    for every driver with open modules, because their gate requires it. Raises RenderError for files no rule places.
    """
    files = _files(unit, sources)
    names = [name for name in DRIVER_PACKAGES if name in files or name == DRIVER]
    if FIRMWARE not in names and any(flavor is Flavor.OPEN for flavor, _ in sources.kernel_trees):
        names.append(FIRMWARE)
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    small = _compat32_names(unit, sources)
    ev = driver_ev(unit.driver, matrix)
    packages = []
    for name in names:
        requires, recommends = _dependencies(name, names, nevra.evr, unit.arch)
        # Never installed because of it (dnf leaves suggestions alone): it says what belongs to this driver, so that a
        # publication without it is found to be half of one.
        suggests = (f"{of_arch(name, COMPAT32_ARCHES[unit.arch])} = {ev}",) if name in small else ()
        packages.append(_package(name, files, nevra.evr, requires, recommends, suggests))
    return _spec(unit, sources, matrix, nevra, packages)


def render_compat32(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of the libraries for 32-bit programs, to be built for ``package_arch(unit)``.

    They are of the version of the modules and of the 64-bit libraries where those are installed, and pull neither.
    Raises RenderError for files no rule places and for an archive that holds none of them.
    """
    names = _compat32_names(unit, sources)
    if not names:
        raise RenderError(f"{unit.id}: the archive has no 32-bit libraries")
    files = _files(unit, sources, compat32=True)
    beside = _files(unit, sources)
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    ev = driver_ev(unit.driver, matrix)
    packages = []
    for name in names:
        others = [GATE, *([of_arch(name, unit.arch)] if name in beside else [])]
        requires = tuple(f"({other} = {ev} if {other})" for other in others)
        recommends = tuple(of_arch(loader, package_arch(unit)) for loader in _LOADERS32 if name == LIBS)
        packages.append(_package(name, files, nevra.evr, requires, recommends))
    return _spec(unit, sources, matrix, nevra, packages)


def _compat32_names(unit: Unit, sources: DriverSources) -> tuple[str, ...]:
    if unit.arch not in COMPAT32_ARCHES or not has_compat32(sources.manifest, unit.driver.version):
        return ()
    files = _files(unit, sources, compat32=True)
    return tuple(name for name in COMPAT32_PACKAGES if name in files)


def _files(unit: Unit, sources: DriverSources, *, compat32: bool = False) -> Mapping[str, list[Placed]]:
    """Where the files go, by package."""
    version = unit.driver.version
    if (sources.driver_version, sources.arch) != (version, unit.arch):
        raise RenderError(f"{unit.id}: the sources are of {sources.driver_version} for {sources.arch}")
    files: dict[str, list[Placed]] = {}
    for file in place_files(sources.manifest, version, compat32=compat32)[0]:
        files.setdefault(file.package, []).append(file)
    return files


def _spec(
    unit: Unit, sources: DriverSources, matrix: Matrix, nevra: Nevra, packages: Sequence[BinaryPackage]
) -> SpecFile:
    licensed = any(entry.path.removeprefix("./") == "LICENSE" for entry in sources.manifest)
    unpacked = {file.source for package in packages for file in package.files if file.source}
    text = fill_spec(
        "nvidia-driver.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        source=require_word(sources.userspace.filename, "source file name"),
        licensed=licensed,
        unpacked=tuple(sorted(unpacked | ({"LICENSE"} if licensed else set()))),
        packages=tuple(packages),
        main=next((package for package in packages if package.name == nevra.name), None),
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(sources.userspace,))


def _package(
    name: str,
    files: Mapping[str, list[Placed]],
    evr: Evr,
    requires: tuple[str, ...],
    recommends: tuple[str, ...],
    suggests: tuple[str, ...] = (),
) -> BinaryPackage:
    own = tuple(files.get(name, ()))
    paths = [file.path for file in own]
    if name == FIRMWARE:
        paths.append(f"/usr/lib/firmware/nvidia/{evr.version}/any")  # its folder is there without files too
    return BinaryPackage(
        name=name,
        summary=_SUMMARIES[name],
        description=_DESCRIPTIONS[name],
        auto=name != FIRMWARE,  # firmware is ELF for another processor
        requires=requires,
        recommends=recommends,
        suggests=suggests,
        folders=owned_folders(paths),
        files=own,
    )


def _dependencies(name: str, names: Collection[str], evr: Evr, arch: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requires and Recommends between the packages of one driver; the gate is asked for by those that need modules.

    Libraries are asked for with their architecture: a 32-bit package of the same name would not do.
    """
    same = {other: f"{of_arch(other, arch) if other in COMPAT32_PACKAGES else other} = {evr}" for other in names}
    gate = f"{GATE} = {evr.epoch}:{evr.version}"
    if name == DRIVER:
        return (gate, *(same[n] for n in (LIBS, MODPROBE) if n in same)), ()
    if name == CUDA:
        return (gate, *(same[n] for n in (CUDA_LIBS, MODPROBE) if n in same)), ("ocl-icd",)
    return (), _LOADERS if name == LIBS else ()
