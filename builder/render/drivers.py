"""The user-space packages of a driver, from the manifest of its .run."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.errors import RenderError
from builder.model.cells import Unit
from builder.model.matrix import Flavor, Matrix
from builder.model.naming import DRIVER_PACKAGES, package_nevra
from builder.model.nevra import Evr
from builder.model.sources import DriverSources, SpecFile
from builder.render.manifest import CUDA, CUDA_LIBS, DRIVER, FIRMWARE, LIBS, MODPROBE, Placed, place_files
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
# Folders that every EL system has. Each other folder of a file is owned with it: several packages may own one folder,
# and so none stays behind on a host that has nothing else in it.
_SYSTEM_FOLDERS = frozenset(
    ("/", "/etc", "/usr", "/usr/bin", "/usr/lib", "/usr/lib/firmware", "/usr/lib/systemd", "/usr/lib/systemd/system",
     "/usr/lib/systemd/system-sleep", "/usr/lib64", "/usr/share", "/usr/share/man", "/usr/share/man/man1")
)  # fmt: skip
# Weak, because headless hosts need none; the names are EL's.
_LOADERS = ("libglvnd-egl", "libglvnd-gles", "libglvnd-glx", "libglvnd-opengl", "vulkan-loader", "egl-wayland")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Package:
    """One binary package, as the template wants it."""

    name: str
    summary: str
    description: str
    auto: bool  # let rpm read sonames from the files
    requires: tuple[str, ...]
    recommends: tuple[str, ...]
    folders: tuple[str, ...]
    files: tuple[Placed, ...]


def render_driver(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-driver with the subpackages for which the archive has files.

    A compute-only archive yields nvidia-driver without display files and no nvidia-driver-libs. nvidia-firmware exists
    for every driver with open modules, because their gate requires it. Raises RenderError for files no rule places.
    """
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    version = unit.driver.version
    if (sources.driver_version, sources.arch) != (version, unit.arch):
        raise RenderError(f"{unit.id}: the sources are of {sources.driver_version} for {sources.arch}")
    placed, _ = place_files(sources.manifest, version)
    files: dict[str, list[Placed]] = {}
    for file in placed:
        files.setdefault(file.package, []).append(file)
    names = [name for name in DRIVER_PACKAGES if name in files or name == DRIVER]
    if FIRMWARE not in names and any(flavor is Flavor.OPEN for flavor, _ in sources.kernel_trees):
        names.append(FIRMWARE)
    text = fill_spec(
        "nvidia-driver.spec.j2",
        nevra=nevra,
        version=version,
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        source=require_word(sources.userspace.filename, "source file name"),
        licensed=any(entry.path.removeprefix("./") == "LICENSE" for entry in sources.manifest),
        packages=tuple(_package(name, names, files, nevra.evr) for name in names),
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(sources.userspace,))


def _package(name: str, names: list[str], files: Mapping[str, list[Placed]], evr: Evr) -> _Package:
    own = tuple(files.get(name, ()))
    paths = [file.path for file in own]
    if name == FIRMWARE:
        paths.append(f"/usr/lib/firmware/nvidia/{evr.version}/any")  # its folder is there without files too
    folders = {str(folder) for path in paths for folder in PurePosixPath(path).parents} - _SYSTEM_FOLDERS
    requires, recommends = _dependencies(name, names, evr)
    return _Package(
        name=name,
        summary=_SUMMARIES[name],
        description=_DESCRIPTIONS[name],
        auto=name != FIRMWARE,  # firmware is ELF for another processor
        requires=requires,
        recommends=recommends,
        folders=tuple(sorted(folders)),
        files=own,
    )


def _dependencies(name: str, names: list[str], evr: Evr) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Requires and Recommends between the packages of one driver; the gate is asked for by those that need modules."""
    same = {other: f"{other} = {evr}" for other in names}
    gate = f"nvidia-kmod-common = {evr.epoch}:{evr.version}"
    if name == DRIVER:
        return (gate, *(same[n] for n in (LIBS, MODPROBE) if n in same)), ()
    if name == CUDA:
        return (gate, *(same[n] for n in (CUDA_LIBS, MODPROBE) if n in same)), ("ocl-icd",)
    return (), _LOADERS if name == LIBS else ()
