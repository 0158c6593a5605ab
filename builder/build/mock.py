"""The mock builder: what production uses. mock makes the roots and calls rpmbuild; the store keeps its caches.

mock's own words for it are in its man page and site-defaults.cfg; what its exit codes mean was measured with mock 6.7
(docs/adr/0019-mock-builder.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from builder.build.contract import RECIPE
from builder.build.failures import killed
from builder.build.memory import in_memory_or_on_disk
from builder.build.mock_call import (
    CACHE,
    INSIDE,
    LIB,
    PACKAGES,
    RESULT,
    MockCall,
    give,
    in_memory,
    listing,
    probe_database,
    root_name,
)
from builder.build.mock_logs import failure, init_failure, stopped_by, was_killed
from builder.build.roots import Roots, write_root
from builder.errors import BuildError, BuildrootError, BuildTimeoutError, ToolMissingError, ToolTimeoutError
from builder.model.matrix import Chroot
from builder.model.sources import BuildRequest, Buildroot
from builder.store import Store
from builder.tools.repomd import is_local, repository_state
from builder.tools.rpmbuild import dbpath, installed_packages, listed_packages, reproducible_macros
from builder.tools.run import tail, which

FORMAT = 2  # of what is kept of a root; a new number makes all of them again
_ROOT_TIMEOUT = 3600.0  # seconds: downloads included
_GRACE = 900.0  # seconds beyond the build's own timeout: unpacking, dnf, removing the root
_TIMED_OUT = 11  # mock's exit code when rpmbuild_timeout ran out
# dnf needs the network where a repository is remote, what it builds must not have it. mock takes it away only with
# systemd-nspawn, so requirements are installed first; then mock itself runs without.
_INSTALL = 'mock "$@" --installdeps "$srpm"'
_BUILD = 'exec unshare -n -- mock "$@" --offline --no-clean --rebuild "$srpm"'
_TWO_STEPS = ("sh", "-c", f"srpm=$1; shift; {_INSTALL} && {_BUILD}", "mock")
_LOGS = ("build.log", "root.log", "state.log", PACKAGES)


class MockBuilder:
    """Builds with mock, as root: a root and namespaces for each build, a cache for each state of the repositories."""

    name = "mock"
    recipe = RECIPE

    def __init__(self, store: Store, configuration: Callable[[Chroot], str], *, memory: int | None = None) -> None:
        """``configuration`` renders a chroot's mock configuration; ``memory`` as for the chroot builder."""
        self._store = store
        self._configuration = configuration
        self._memory = memory
        self._roots = Roots(store, self.name, CACHE, self._key)

    def find(self, chroot: Chroot) -> Buildroot | None:
        """The root of the repositories' present state, None where there is none or they cannot be read."""
        return self._roots.find(chroot)

    def prepare(self, chroot: Chroot) -> Buildroot:
        """``mock --init`` unless that was done in this state of the repositories; earlier states are removed."""
        require_mock()
        return self._roots.get(chroot, partial(self._make, chroot))

    def build(self, request: BuildRequest) -> None:
        """``mock --rebuild`` in a root unpacked from the kept cache, in memory where there is enough."""
        require_mock()
        memory = request.memory if self._memory is None else self._memory
        in_memory_or_on_disk(request.resultdir, memory, partial(self._build, request))

    def _key(self, chroot: Chroot, state: str) -> str:
        document = {"format": FORMAT, "builder": self.name, "config": self._configuration(chroot), "state": state}
        return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()

    def _make(self, chroot: Chroot, folder: Path, _state: str) -> None:
        logs = self._store.logs(f"buildroot-{chroot.name}")
        logs.mkdir(parents=True, exist_ok=True)
        probe_database(dbpath(chroot))
        with self._store.tmp() as tmp:
            call = MockCall.new(tmp, chroot, self._configuration(chroot), {})
            code = call.run(["--init"], network=not is_local(chroot), timeout=_ROOT_TIMEOUT)
            call.keep(logs, ("root.log", "state.log"))
            if code:
                if was_killed(code, call.log):
                    raise killed(chroot.name, tail(call.log), logs / "root.log")
                raise init_failure(chroot.name, code, logs / "root.log", call.log)
            packages = installed_packages(call.scratch / LIB / root_name(chroot) / "root", dbpath(chroot))
            if not packages:
                raise BuildrootError(
                    f"{chroot.name}: mock --init ended well, but the rpm database of its root has no packages",
                    details=[f"looked for in {dbpath(chroot)}", *tail(call.log)],
                    hint="root.log says what dnf installed, and where",
                    log=logs / "root.log",
                )
            shutil.copytree(call.scratch / CACHE, folder / CACHE, symlinks=True)
        write_root(folder, chroot, self.name, packages, repository_state(chroot))

    def _build(self, request: BuildRequest, memory: int) -> None:
        chroot = request.buildroot.chroot
        kept = request.buildroot.path
        assert kept is not None  # noqa: S101  this builder's buildroots have one
        with self._store.tmp() as tmp:
            settings = {
                "rpmbuild_arch": request.arch,
                "rpmbuild_timeout": int(request.timeout),
                "environment": {"SOURCE_DATE_EPOCH": str(request.source_date_epoch)},
                "macros": {f"%{name}": value for name, value in _macros(request).items()},
            }
            call = MockCall.new(tmp, chroot, self._configuration(chroot), settings)
            # Links: mock takes its caches as they are, and writes new files beside them.
            shutil.copytree(kept, call.scratch / CACHE, symlinks=True, copy_function=os.link, dirs_exist_ok=True)
            give(call.scratch / CACHE)
            timeout = request.timeout + _GRACE
            shutil.copyfile(request.srpm, call.scratch / request.srpm.name)
            srpm = str(INSIDE / request.srpm.name)
            unique = uuid.uuid4().hex
            around = (*in_memory(memory), *listing(chroot, unique))
            words = ["--uniqueext", unique]
            try:
                if is_local(chroot):
                    script = (*around, "mock")
                    code = call.run([*words, "--rebuild", srpm], network=False, timeout=timeout, script=script)
                else:
                    steps = (*around, *_TWO_STEPS, srpm)
                    code = call.run(words, network=True, timeout=timeout, script=steps)
            except ToolTimeoutError as exc:
                call.keep(request.resultdir, _LOGS)
                raise _timed_out(request, tail(call.log)) from exc
            call.keep(request.resultdir, _LOGS)
            self._judge(request, call, code)

    def _judge(self, request: BuildRequest, call: MockCall, code: int) -> None:
        """Take the RPMs, or raise what mock's exit code and logs say."""
        result = request.resultdir
        state = (result / "state.log").read_text() if (result / "state.log").exists() else ""
        if code == _TIMED_OUT:
            raise _timed_out(request, tail(result / "build.log"))
        if was_killed(code, call.log):
            raise killed(request.unit_id, tail(call.log), result / "build.log")
        stopped = stopped_by(code, call.log)
        if stopped is not None:
            raise BuildrootError(
                f"{request.unit_id}: mock was stopped by {stopped}, not by repobuild",
                details=tail(call.log),
                hint="run again: what was finished is kept",
                log=result / "build.log",
            )
        if code or not state.rstrip().endswith("Finish: run"):
            raise failure(request.unit_id, code, state, result, call.log)
        packages = listed_packages((result / PACKAGES).read_text())
        if not packages:
            raise BuildrootError(
                f"{request.unit_id}: the packages of its root cannot be listed", details=tail(call.log), log=call.log
            )
        (result / PACKAGES).write_text("".join(f"{line}\n" for line in packages))
        rpms = sorted(path for path in (call.scratch / RESULT).glob("*.rpm") if path.is_file())
        if not any(not path.name.endswith(".src.rpm") for path in rpms):
            raise BuildError(f"{request.unit_id}: mock ended well but made no RPM", log=result / "build.log")
        for path in rpms:
            if not path.name.endswith(".src.rpm"):
                shutil.copyfile(path, result / path.name)
        shutil.copyfile(request.srpm, result / request.srpm.name)


def require_mock() -> None:
    """Raise ToolMissingError where mock is not installed, BuildrootError unless running as root."""
    if which("mock") is None:
        raise ToolMissingError(
            "builder mock: mock is not installed",
            hint="install mock (Fedora, EPEL), or use --builder chroot: dnf and rpmbuild in a root of their own",
        )
    if os.geteuid() != 0:
        raise BuildrootError(
            "the mock builder needs root: each build has namespaces of its own, so that none outlives its build",
            hint="run as root (sudo repobuild …); mock itself and compilers run unprivileged",
        )


def _macros(request: BuildRequest) -> dict[str, str]:
    return {
        **reproducible_macros(),
        "_smp_build_ncpus": str(request.jobs),
        "_smp_mflags": f"-j{request.jobs}",
        **dict(request.buildroot.chroot.macros),
    }


def _timed_out(request: BuildRequest, lines: Sequence[str]) -> BuildTimeoutError:
    return BuildTimeoutError(
        f"{request.unit_id}: the build ran longer than {request.timeout:g} s and was stopped",
        details=lines,
        hint="if it only needs more time, give it more: --cell-timeout",
        log=request.resultdir / "build.log",
    )
