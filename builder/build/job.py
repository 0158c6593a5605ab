"""What goes into a buildroot's namespaces and what comes back, as JSON files: code on both sides is this package's."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.errors import (
    BuildDependencyError,
    BuildError,
    BuildrootError,
    BuildTimeoutError,
    DiskFullError,
    RepobuildError,
    RepositoryError,
)
from builder.model.chroots import Chroot, RepositoryRef

ROOT, CACHE = "root", "dnf"  # in the folder of a base root: the tree, and the metadata of the state it came from
PACKAGES = "packages.txt"  # in that folder, and in that of a layer over it: what the root has
FULL = 28  # exit code of the inner side when its disk has no room for its failure: ENOSPC, as Linux numbers it
_FAILURES: dict[str, type[RepobuildError]] = {
    kind.code: kind
    for kind in (
        BuildError,
        BuildDependencyError,
        BuildTimeoutError,
        BuildrootError,
        RepositoryError,
        DiskFullError,
    )
}


@dataclass(frozen=True, slots=True, kw_only=True)
class RootJob:
    """Make a base root."""

    chroot: Chroot
    folder: Path  # gets root/, dnf/, packages.txt and root.json; exists
    log: Path
    timeout: float  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildJob:
    """Build one SRPM over a base root."""

    subject: str  # of error messages
    chroot: Chroot
    base: Path  # folder that a RootJob filled
    srpm: Path
    arch: str  # rpmbuild's --target
    resultdir: Path
    work: Path  # fresh folder, removed by the caller
    tmpfs_size: int  # bytes; 0: work on the disk, in ``work``
    source_date_epoch: int  # seconds
    timeout: float  # seconds, for each step
    jobs: int
    network: bool  # do the namespaces reach one? dnf does then, a build never


def write_job(job: RootJob | BuildJob, path: Path) -> None:
    """Write a job."""
    document = asdict(job)
    path.write_text(json.dumps(document, default=str, indent=1))


def read_root_job(path: Path) -> RootJob:
    """Read what ``write_job`` wrote."""
    data = json.loads(path.read_text())
    return RootJob(
        chroot=_chroot(data["chroot"]), folder=Path(data["folder"]), log=Path(data["log"]), timeout=data["timeout"]
    )


def read_build_job(path: Path) -> BuildJob:
    """Read what ``write_job`` wrote."""
    data = json.loads(path.read_text())
    paths = {name: Path(data[name]) for name in ("base", "srpm", "resultdir", "work")}
    return BuildJob(**{**data, **paths, "chroot": _chroot(data["chroot"])})


def _chroot(data: dict[str, object]) -> Chroot:
    repositories = data["repositories"]
    packages = data["packages"]
    macros = data["macros"]
    assert isinstance(repositories, list)  # noqa: S101
    assert isinstance(packages, list)  # noqa: S101
    assert isinstance(macros, list)  # noqa: S101
    return Chroot(
        name=str(data["name"]),
        template=str(data["template"]),
        arch=str(data["arch"]),
        releasever=str(data["releasever"]),
        packages=tuple(packages),
        repositories=tuple(RepositoryRef(**r) for r in repositories),
        macros=tuple((name, value) for name, value in macros),
    )


def write_failure(exc: RepobuildError, path: Path) -> None:
    """Write a failure for the other side."""
    document = {
        "code": exc.code,
        "message": exc.message,
        "details": exc.details,
        "hint": exc.hint,
        "log": str(exc.log) if exc.log else None,
    }
    path.write_text(json.dumps(document))


def read_failure(path: Path) -> RepobuildError | None:
    """The failure that was written, None when there is none or only half of one."""
    try:
        data = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    kind = _FAILURES.get(data["code"], BuildrootError)
    log = Path(data["log"]) if data["log"] else None
    return kind(data["message"], details=data["details"], hint=data["hint"], log=log)
