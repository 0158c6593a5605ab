"""The chroot builder (docs/adr/0005-chroot-builder.md): dnf installroot base, overlay, namespaces; no mock needed."""

from __future__ import annotations

import hashlib
import json
import os
import signal
from dataclasses import asdict
from functools import partial
from pathlib import Path

from builder.build.contract import RECIPE
from builder.build.failures import disk_full, evidence, killed
from builder.build.job import FULL, ROOT, BuildJob, RootJob, read_failure, write_job
from builder.build.memory import in_memory_or_on_disk
from builder.build.roots import Roots
from builder.errors import (
    BuildrootError,
    BuildTimeoutError,
    RepobuildError,
    ToolError,
    ToolMissingError,
    ToolTimeoutError,
)
from builder.model.matrix import Chroot
from builder.model.sources import BuildRequest, Buildroot
from builder.store import Store
from builder.tools.fork_server import ForkServer
from builder.tools.repomd import is_local
from builder.tools.run import tail, which

FORMAT = 1  # of base roots; a new number makes all of them again
_ROOT_TIMEOUT = 3600.0  # seconds: downloads included
_GRACE = 60.0  # seconds beyond the build's own timeout for setting up and collecting
_inside = ForkServer("builder.build.inner")  # one of this process, whoever builds in it
_TOOLS = ("unshare", "setpriv", "chroot", "dnf", "rpm")


class ChrootBuilder:
    """Builds as root in overlays over base roots that the store keeps, one a chroot and state of its repositories."""

    name = "chroot"
    recipe = RECIPE

    def __init__(self, store: Store, *, memory: int | None = None) -> None:
        """``memory`` is what one build may use of it, in bytes; None: half of what is available; 0: the disk only."""
        self._store = store
        self._memory = memory
        self._roots = Roots(store, self.name, ROOT, _key)

    def find(self, chroot: Chroot) -> Buildroot | None:
        """The base root of the repositories' present state, None where there is none or they cannot be read."""
        return self._roots.find(chroot)

    def prepare(self, chroot: Chroot) -> Buildroot:
        """Make the base root unless it is there; roots of earlier repository states are removed."""
        require_root()
        _require_arch(chroot)
        return self._roots.get(chroot, partial(self._make, chroot))

    def build(self, request: BuildRequest) -> None:
        """Build in memory where there is enough, else (or when that is full) on the store's disk."""
        require_root()
        memory = request.memory if self._memory is None else self._memory
        in_memory_or_on_disk(request.resultdir, memory, partial(self._build, request))

    def _make(self, chroot: Chroot, folder: Path, _state: str) -> None:
        logs = self._store.logs(f"buildroot-{chroot.name}")
        log = logs / "root.log"
        log.unlink(missing_ok=True)
        logs.mkdir(parents=True, exist_ok=True)
        with self._store.tmp() as tmp:
            job = RootJob(chroot=chroot, folder=folder, log=log, timeout=_ROOT_TIMEOUT)
            try:
                _run_inside("root", job, tmp, network=not is_local(chroot), timeout=_ROOT_TIMEOUT)
            except ToolTimeoutError as exc:
                raise BuildrootError(f"{chroot.name}: {exc.message}", details=tail(log), log=log) from exc

    def _build(self, request: BuildRequest, tmpfs_size: int) -> None:
        root = request.buildroot.path
        assert root is not None  # noqa: S101  this builder's buildroots have one
        with self._store.tmp() as tmp:
            work = tmp / "work"
            work.mkdir()
            network = not is_local(request.buildroot.chroot)
            job = BuildJob(
                subject=request.unit_id,
                chroot=request.buildroot.chroot,
                base=root.parent,
                srpm=request.srpm,
                arch=request.arch,
                resultdir=request.resultdir,
                work=work,
                tmpfs_size=tmpfs_size,
                source_date_epoch=request.source_date_epoch,
                timeout=request.timeout + _GRACE,
                jobs=request.jobs,
                network=network,
            )
            try:
                _run_inside("build", job, tmp, network=network, timeout=request.timeout)
            except ToolTimeoutError as exc:
                log = request.resultdir / "build.log"
                raise BuildTimeoutError(
                    f"{request.unit_id}: the build ran longer than {request.timeout:g} s and was stopped",
                    details=tail(log),
                    hint="if it only needs more time, give it more: --cell-timeout",
                    log=log,
                ) from exc


def require_root() -> None:
    """Raise BuildrootError unless running as root, ToolMissingError when a program is not installed."""
    if os.geteuid() != 0:
        raise BuildrootError(
            "the chroot builder needs root: it mounts, and installs packages into a root of its own",
            hint="run as root (sudo repobuild …); compilers still run unprivileged",
        )
    missing = [tool for tool in _TOOLS if which(tool) is None]
    if missing:
        raise ToolMissingError(
            f"the chroot builder needs programs that are not installed: {', '.join(missing)}",
            hint="install util-linux, coreutils, dnf and rpm",
        )


def _require_arch(chroot: Chroot) -> None:
    """Raise BuildrootError where this machine cannot run the chroot's programs."""
    machine = os.uname().machine
    if chroot.arch != machine:
        raise BuildrootError(
            f"{chroot.name}: its programs are {chroot.arch}, this machine is {machine}",
            hint=f"build {chroot.arch} on such a machine, or leave it out with --skip",
        )


def _run_inside(verb: str, job: RootJob | BuildJob, tmp: Path, *, network: bool, timeout: float) -> None:
    """Run a job in namespaces of its own; raises what it wrote as its failure."""
    path = tmp / "job.json"
    log = tmp / "inner.log"
    write_job(job, path)
    try:
        _inside.run([verb, str(path)], network=network, timeout=timeout, log=log)
    except (ToolTimeoutError, ToolMissingError):
        raise
    except ToolError as exc:
        failure = read_failure(path.with_suffix(".failure"))
        raise (failure or _broken(job, log, exc)) from exc


def _broken(job: RootJob | BuildJob, log: Path, ended: ToolError) -> RepobuildError:
    """No failure was written: somebody killed it, the kernel refused a mount, or the inner side has a bug."""
    lines = tail(log, 30)
    subject = job.subject if isinstance(job, BuildJob) else job.chroot.name
    if ended.returncode == FULL:
        return disk_full(subject, [f"{log.parent}: no room for what was said"], log)
    if ended.signal == signal.SIGKILL:
        return killed(subject, lines, job.resultdir / "build.log" if isinstance(job, BuildJob) else job.log)
    if any("No space left on device" in line for line in lines):
        return disk_full(subject, evidence(lines), log)
    return BuildrootError(
        f"{subject}: the buildroot cannot be set up: {lines[-1] if lines else 'no word'}", details=lines
    )


def _key(chroot: Chroot, state: str) -> str:
    described = asdict(chroot)
    for name in ("template", "template_text"):  # mock's
        del described[name]
    document = {"format": FORMAT, "chroot": described, "state": state}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()
