"""Packages of what NVIDIA publishes beside a driver's .run: fabric manager, NSCQ, IMEX.

Where each member goes is said by its folder, after NVIDIA's own packages of them. Every member is placed; one that no
rule knows is an error, so that a new kind of file in a new driver is noticed on the day it comes.
"""

from __future__ import annotations

import posixpath
from fnmatch import fnmatchcase

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Matrix
from builder.model.naming import FABRICMANAGER_PACKAGES, beyond_ours, driver_ev, of_arch, package_nevra
from builder.model.sources import ArchiveMember, DriverArchive, DriverSources, SpecFile
from builder.render.manifest import CUDA_LIBS, LIBDIR, Placed, owned_folders
from builder.render.packages import BinaryPackage
from builder.render.templates import fill_spec
from builder.render.values import require_name, require_nevra, require_payload, require_word

_FM, _FM_DEVEL = FABRICMANAGER_PACKAGES
_NSCQ, _IMEX, _GATE = PackageKind.NSCQ.value, PackageKind.IMEX.value, PackageKind.GATE.value
_UNITS = "/usr/lib/systemd/system"
_LICENSES = ("LICENSE", "*third-party-notices.txt")  # go into each package

# Folder of the archive → package and folder of the host.
_PLACES: dict[PackageKind, dict[str, tuple[str, str]]] = {
    PackageKind.FABRICMANAGER: {
        "bin/*": (_FM, "/usr/bin"),
        "etc/*": (_FM, "/usr/share/nvidia/nvswitch"),  # where its unit looks for fabricmanager.cfg
        "share/nvidia/nvswitch/*": (_FM, "/usr/share/nvidia/nvswitch"),
        "systemd/*.service": (_FM, _UNITS),
        "lib/systemd/system/*.service": (_FM, _UNITS),
        "lib/*": (_FM_DEVEL, LIBDIR),
        "include/*": (_FM_DEVEL, "/usr/include"),
    },
    PackageKind.NSCQ: {
        "bin/*": (_NSCQ, "/usr/bin"),
        "lib/*": (_NSCQ, LIBDIR),
    },
    PackageKind.IMEX: {
        "bin/*": (_IMEX, "/usr/bin"),
        "usr/bin/*": (_IMEX, "/usr/bin"),
        "etc/nvidia-imex/*": (_IMEX, "/etc/nvidia-imex"),
        "lib/systemd/system/*.service": (_IMEX, _UNITS),
        "usr/lib/systemd/system/*.service": (_IMEX, _UNITS),
    },
}
_SUMMARIES = {
    _FM: "NVIDIA fabric manager: sets up the NVLink fabric of hosts with NVSwitch",
    _FM_DEVEL: "NVIDIA fabric manager: library and headers of its interface",
    _NSCQ: "NVIDIA NVSwitch configuration and query library",
    _IMEX: "NVIDIA IMEX: shares GPU memory between the hosts of an NVLink domain",
}
_DESCRIPTIONS = {
    _FM: "On hosts with NVSwitch no GPU computes before this service runs, in exactly the driver's version."
    " Enable it: systemctl enable --now nvidia-fabricmanager.",
    _FM_DEVEL: "For programs that ask the fabric manager or partition its fabric.",
    _NSCQ: "What DCGM monitors NVSwitch devices with; of exactly the driver's version.",
    _IMEX: "The service that exports and imports GPU memory over NVLink; of exactly the driver's version. It wants"
    " /etc/nvidia-imex/nodes_config.cfg; then systemctl enable --now nvidia-imex.",
}
# Names that NVIDIA gave these packages before, "{branch}" being the driver's.
_FORMER = {
    _FM: ("nvidia-fabric-manager", "nvidia-fabricmanager-{branch}"),
    _FM_DEVEL: ("nvidia-fabric-manager-devel", "nvidia-fabricmanager-devel-{branch}"),
    _NSCQ: ("libnvidia-nscq-{branch}",),
    _IMEX: ("nvidia-imex-{branch}",),
}


def render_archive(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of the packages of an archive; raises RenderError for a member that no rule places."""
    archive = sources.archive
    if archive is None:
        raise RenderError(f"{unit.id}: its archive is not there")
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    files: dict[str, list[Placed]] = {}
    for file in _placed(unit.kind, archive):
        files.setdefault(file.package, []).append(file)
    if nevra.name not in files:
        raise RenderError(f"{archive.file.filename}: holds nothing of {nevra.name}")
    text = fill_spec(
        "nvidia-archive.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        source=require_word(archive.file.filename, "source file name"),
        top=require_word(archive.top, "top folder"),
        ev=driver_ev(unit.driver, matrix),
        beyond=beyond_ours(matrix),
        licenses=tuple(require_word(m.path, "licence") for m in archive.members if _is_license(m)),
        packages=tuple(_package(name, files[name], unit, matrix) for name in _SUMMARIES if name in files),
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(archive.file,))


def _placed(kind: PackageKind, archive: DriverArchive) -> tuple[Placed, ...]:
    placed = {}
    for member in archive.members:
        if not _is_license(member):
            file = _place(kind, archive, member)
            placed[file.path] = file
    library = f"{LIBDIR}/libnvfm.so"
    if f"{library}.1" in placed and library not in placed:  # programs are linked with that name
        placed[library] = Placed(package=_FM_DEVEL, path=library, mode="0777", source="", target="libnvfm.so.1")
    return tuple(placed[path] for path in sorted(placed))


def _place(kind: PackageKind, archive: DriverArchive, member: ArchiveMember) -> Placed:
    for pattern, (package, folder) in _PLACES[kind].items():
        if fnmatchcase(member.path, pattern) and member.path.count("/") == pattern.count("/"):
            path = posixpath.join(folder, posixpath.basename(member.path))
            library = folder == LIBDIR  # rpm looks for sonames only in executable files
            return Placed(
                package=package,
                path=require_word(path, f"{archive.file.filename}: path"),
                mode="0777" if member.target else "0755" if member.executable or library else "0644",
                source="" if member.target else require_word(member.path, f"{archive.file.filename}: member"),
                target=require_word(member.target, f"{archive.file.filename}: target") if member.target else "",
            )
    raise RenderError(
        f"{archive.file.filename}: no rule places {member.path}",
        hint="add its folder to builder/render/archives.py: a package and a folder",
    )


def _is_license(member: ArchiveMember) -> bool:
    return any(fnmatchcase(member.path, pattern) for pattern in _LICENSES)


def _package(name: str, files: list[Placed], unit: Unit, matrix: Matrix) -> BinaryPackage:
    ev = driver_ev(unit.driver, matrix)
    # A service is of use beside its modules only; a library also where those are none of its host's business.
    hard = (f"{_GATE} = {ev}", f"{of_arch(CUDA_LIBS, unit.arch)} = {ev}")
    services = tuple(posixpath.basename(f.path) for f in files if f.folder == _UNITS)
    branch = require_name(unit.driver.branch, "branch")
    return BinaryPackage(
        name=name,
        summary=_SUMMARIES[name],
        description=_DESCRIPTIONS[name],
        requires=hard if name in (_FM, _IMEX) else (f"({_GATE} = {ev} if {_GATE})",),
        former=tuple(former.format(branch=branch) for former in _FORMER[name]),
        folders=owned_folders(f.path for f in files),
        files=tuple(files),
        services=services,
    )
