"""Make a base root with dnf; runs inside the namespaces (builder.build.inner)."""

from __future__ import annotations

import shutil
from pathlib import Path

from builder.build.failures import root_failure
from builder.build.job import CACHE, ROOT, RootJob
from builder.build.roots import write_root
from builder.errors import BuildrootError, ToolError, ToolMissingError
from builder.tools.dnf import Dnf
from builder.tools.mounts import api_filesystems
from builder.tools.rpmbuild import dbpath, installed_packages, owned
from builder.tools.run import run

_EVAL_TIMEOUT = 60.0  # seconds


def make_root(job: RootJob) -> None:
    """Fill the job's folder: root/ (the tree), dnf/ (metadata of the very state it came from), packages.txt, root.json.

    Raises BuildrootError, DiskFullError.
    """
    root = job.folder / ROOT
    root.mkdir()
    api_filesystems(root)
    dnf = Dnf(job.chroot, job.folder / CACHE)
    try:
        dnf.install(root, job.chroot.packages, timeout=job.timeout, log=job.log)
    except ToolMissingError:
        raise
    except ToolError as exc:
        raise root_failure(job.chroot.name, job.log) from exc
    _require_rpmbuild(job)
    packages = installed_packages(root, dbpath(job.chroot))
    write_root(job.folder, job.chroot, "chroot", packages, dnf.state())
    _remove_traces(root, dnf.cache, dbpath(job.chroot))
    # Metadata stay for the builds over this base; its packages are in it already.
    shutil.rmtree(job.folder / CACHE / "persist", ignore_errors=True)
    for packages_folder in dnf.cache.glob("*/packages"):
        shutil.rmtree(packages_folder)


def _remove_traces(root: Path, cache: Path, database: str) -> None:
    """Remove dnf's logs, and the file that it writes where the cache would lie inside the root, with its folders."""
    for log in ("dnf.log", "dnf.librepo.log", "dnf.rpm.log", "hawkey.log"):
        (root / "var/log" / log).unlink(missing_ok=True)
    place = root / cache.relative_to("/")
    (place / "expired_repos.json").unlink(missing_ok=True)
    while place != root and not owned(root, database, place):
        try:
            place.rmdir()
        except OSError:  # not empty, or one of our mounts
            return
        place = place.parent


def _require_rpmbuild(job: RootJob) -> None:
    """The root's own rpmbuild must start: a root without it fails here and not in each build."""
    try:
        run(["chroot", job.folder / ROOT, "rpmbuild", "--version"], timeout=_EVAL_TIMEOUT)
    except ToolError as exc:
        raise BuildrootError(
            f"{job.chroot.name}: the base of the buildroot has no working rpmbuild",
            details=exc.details,
            hint="add rpm-build to the buildroot's packages in matrix.yaml",
            log=job.log,
        ) from exc
