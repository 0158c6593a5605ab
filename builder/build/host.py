"""Plain rpmbuild on this machine: no isolation, whatever is installed here. Only when asked for by name."""

from __future__ import annotations

import hashlib
import shutil
from pathlib import Path

from builder.build.failures import rpmbuild_failure
from builder.errors import BuildError, BuildTimeoutError, ToolError, ToolMissingError, ToolTimeoutError
from builder.model.matrix import Chroot
from builder.model.sources import BuildRequest, Buildroot
from builder.store import Store
from builder.tools.repomd import repository_state
from builder.tools.rpmbuild import defines, installed_packages, reproducible_macros
from builder.tools.run import run, tail

_OS_RELEASE = Path("/etc/os-release")


class HostBuilder:
    """Builds with the host's rpmbuild; build requirements are checked where the host has an rpm database."""

    name = "host"
    recipe = "host 1"

    def __init__(self, store: Store) -> None:
        self._store = store

    def find(self, chroot: Chroot) -> Buildroot | None:
        """The host as it is now; None where it has no rpm."""
        try:
            return self.prepare(chroot)
        except ToolError:
            return None

    def prepare(self, chroot: Chroot) -> Buildroot:
        """Take stock of the host: its rpm packages, or where there are none its os-release and tool versions."""
        packages = installed_packages(None, None)
        if not packages:
            versions = (run([tool, "--version"], timeout=60).stdout for tool in ("rpmbuild", "gcc"))
            lines = [_OS_RELEASE.read_text(), *versions]
            packages = tuple(sorted(line.strip() for text in lines for line in text.splitlines()[:3]))
        try:
            state = repository_state(chroot)
        except ToolError:
            state = ""
        identity = hashlib.sha256("\n".join(packages).encode()).hexdigest()
        return Buildroot(chroot=chroot, identity=identity, packages=packages, path=None, repositories=state)

    def build(self, request: BuildRequest) -> None:
        """``rpmbuild --rebuild`` below the store's tmp folder."""
        log = request.resultdir / "build.log"
        (request.resultdir / "root.log").write_text("host builder: no root of its own\n")
        (request.resultdir / "state.log").write_text("Start: run\n")
        listing = "".join(f"{line}\n" for line in request.buildroot.packages)
        (request.resultdir / "installed_pkgs.log").write_text(listing)
        with self._store.tmp() as tmp:
            self._rpmbuild(request, tmp, log)
            found = sorted((tmp / "RPMS").rglob("*.rpm"))
            if not found:
                raise BuildError(f"{request.unit_id}: rpmbuild ended well but made no RPM", log=log)
            for rpm in found:
                shutil.copyfile(rpm, request.resultdir / rpm.name)
        shutil.copyfile(request.srpm, request.resultdir / request.srpm.name)
        with (request.resultdir / "state.log").open("a") as file:
            file.write("Finish: run\n")

    def _rpmbuild(self, request: BuildRequest, top: Path, log: Path) -> None:
        macros = {
            **reproducible_macros(),
            "_topdir": str(top),
            "_smp_build_ncpus": str(request.jobs),
            "_smp_mflags": f"-j{request.jobs}",
            **dict(request.buildroot.chroot.macros),
        }
        checked = [] if installed_packages(None, None) else ["--nodeps"]
        environment = {
            "HOME": str(top),
            "SOURCE_DATE_EPOCH": str(request.source_date_epoch),
            "RPM_BUILD_NCPUS": str(request.jobs),
            "TZ": "UTC",
        }
        argv = ["rpmbuild", "--rebuild", *checked, "--target", request.arch, *defines(macros)]
        try:
            run([*argv, request.srpm], timeout=request.timeout, env=environment, log=log)
        except ToolTimeoutError as exc:
            raise BuildTimeoutError(
                f"{request.unit_id}: the build ran longer than {request.timeout:g} s and was stopped",
                details=tail(log),
                log=log,
            ) from exc
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise rpmbuild_failure(request.unit_id, "the build failed", log) from exc
