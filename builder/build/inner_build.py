"""Build one SRPM over a base root; runs inside the namespaces (builder.build.inner)."""

from __future__ import annotations

import os
import shutil
import signal
import stat
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path

from builder.build.failures import dependency_failure, disk_full, is_full, rpmbuild_failure
from builder.build.inner_layers import layer
from builder.build.job import CACHE, PACKAGES, ROOT, BuildJob
from builder.errors import BuildError, RepobuildError, ToolError, ToolTimeoutError
from builder.tools.mounts import api_filesystems, bind, overlay, tmpfs, unmount
from builder.tools.rpmbuild import dbpath, installed_packages, macro_file, reproducible_macros
from builder.tools.run import run

UID = 1000
USER = "build"
HOME = "/builddir"
_TOP = f"{HOME}/build"
_FOLDERS = ("SPECS", "SOURCES", "BUILD", "BUILDROOT", "RPMS", "SRPMS")
_CAPABILITIES = "[%{REQUIRENAME}\\t%{REQUIREFLAGS:depflags}\\t%{REQUIREVERSION}\\n]"
_PAUSE = 0.01  # seconds


class _Build:
    """Paths and steps of one build."""

    def __init__(self, job: BuildJob) -> None:
        self.job = job
        self.root = job.work / "r"
        self.scratch = job.work / "s"
        self.home = self.scratch / "h"
        self.build_log = job.resultdir / "build.log"
        self.root_log = job.resultdir / "root.log"

    @contextmanager
    def state(self, what: str) -> Iterator[None]:
        """``Start:`` and ``Finish:`` lines of state.log, as mock writes them."""
        self._tell(f"Start: {what}")
        yield
        self._tell(f"Finish: {what}")

    def _tell(self, text: str) -> None:
        now = time.time()
        stamp = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(now))
        with (self.job.resultdir / "state.log").open("a") as file:
            file.write(f"{stamp},{int(now * 1000) % 1000:03} - {text}\n")

    def inside(self, argv: Sequence[str], *, log: Path | None) -> str:
        """Run a program in the root as the unprivileged user, without network; returns its stdout."""
        environment = {
            "HOME": HOME,
            "PATH": "/usr/bin:/bin:/usr/sbin:/sbin",
            "LANG": "C.UTF-8",
            "TERM": "dumb",
            "TZ": "UTC",
            "SOURCE_DATE_EPOCH": str(self.job.source_date_epoch),
            "RPM_BUILD_NCPUS": str(self.job.jobs),
            "OMP_WAIT_POLICY": "PASSIVE",  # rpmbuild's threads turn in circles for work that has ended
        }
        words = ["unshare", "-n", "--"] if self.job.network else []
        words += ["setpriv", "--no-new-privs", "chroot", f"--userspec={UID}:{UID}", "--groups=", str(self.root)]
        return run([*words, *argv], timeout=self.job.timeout, env=environment, log=log).stdout

    def prepare(self) -> None:
        """Where the build writes, and in it the user's home with the build folder."""
        self.scratch.mkdir()
        self.root.mkdir()
        if self.job.tmpfs_size:
            tmpfs(self.scratch, mode="755", size=self.job.tmpfs_size)
        for folder in ("", "build", *(f"build/{name}" for name in _FOLDERS)):
            (self.home / folder).mkdir()
            os.chown(self.home / folder, UID, UID)
        macros = {
            **reproducible_macros(),
            "_topdir": _TOP,
            "_smp_build_ncpus": str(self.job.jobs),
            "_smp_mflags": f"-j{self.job.jobs}",
            **dict(self.job.chroot.macros),
        }
        (self.home / ".rpmmacros").write_text(macro_file(macros))
        (self.home / "source.src.rpm").touch()

    def mount(self, *layers: Path) -> None:
        """The overlay over the base, and layers on it, with its kernel filesystems, the user and the home."""
        upper, work = (self.scratch / f"{name}{len(layers)}" for name in "uw")
        upper.mkdir()
        work.mkdir()
        overlay((*layers, self.job.base / ROOT), upper, work, self.root)
        api_filesystems(self.root)
        self._add_user()
        home = Path(f"{self.root}{HOME}")
        home.mkdir(exist_ok=True)
        bind(self.home, home)
        bind(self.job.srpm, home / "source.src.rpm", readonly=True)

    def _add_user(self) -> None:
        entries = {"passwd": f"{USER}:x:{UID}:{UID}:build:{HOME}:/bin/bash\n", "group": f"{USER}:x:{UID}:\n"}
        for name, line in entries.items():
            path = self.root / "etc" / name
            text = path.read_text() if path.exists() else ""
            if f"\n{USER}:" not in f"\n{text}":
                path.write_text(f"{text.rstrip()}\n{line}".lstrip())

    def unpack(self) -> str:
        """Install the SRPM for the user; returns the spec's path inside the root."""
        own = ["--define", f"_dbpath {HOME}/db", "--nodeps"]
        try:
            self.inside(["rpm", "-i", *own, f"{HOME}/source.src.rpm"], log=self.build_log)
        except ToolTimeoutError:
            raise
        except ToolError as exc:
            raise rpmbuild_failure(self.job.subject, "the source package does not unpack", self.build_log) from exc
        specs = list(Path(f"{self.root}{_TOP}/SPECS").glob("*.spec"))
        if len(specs) != 1:
            raise BuildError(f"{self.job.subject}: the source package has {len(specs)} spec files", log=self.build_log)
        return f"{_TOP}/SPECS/{specs[0].name}"

    def requirements(self, spec: str) -> list[str]:
        """Build requirements as the root's own macros make them."""
        query = ["rpmspec", "--query", "--srpm", "--target", self.job.arch, "--qf", _CAPABILITIES, spec]
        try:
            told = self.inside(query, log=None)
        except ToolTimeoutError:
            raise
        except ToolError as exc:
            with self.build_log.open("a") as file:
                file.writelines(f"{line}\n" for line in exc.details)
            raise rpmbuild_failure(self.job.subject, "rpm cannot parse the spec", self.build_log) from exc
        rows = [line.split("\t") for line in told.splitlines()]
        wanted = {" ".join(part.strip() for part in row if part.strip()) for row in rows if len(row) == 3}
        return sorted(w for w in wanted if not w.startswith(("rpmlib(", "(none)")))

    @contextmanager
    def installed(self, requirements: Sequence[str]) -> Iterator[None]:
        """Build requirements in the root; its packages are listed."""
        with self.root_log.open("a") as file:
            file.writelines(f"BuildRequires: {text}\n" for text in requirements)
        with ExitStack() as stack:
            if requirements:
                make = partial(self._install, requirements)
                kept, earlier = stack.enter_context(layer(self.job.base, requirements, make))
                if earlier:
                    with self.root_log.open("a") as file:
                        file.write("installed by an earlier build over this base\n")
                unmount(self.root)
                self.mount(kept)
                self._list_packages(kept.parent / PACKAGES)
            else:
                self._list_packages(self.job.base / PACKAGES)
            yield

    def _list_packages(self, known: Path) -> None:
        """``known`` has them since the base or the layer was made, or gets them: neither is ever written to again."""
        if not known.exists():
            packages = installed_packages(self.root, dbpath(self.job.chroot))
            new = known.with_name(f"{PACKAGES}.{self.job.work.parent.name}")  # several builds may find it missing
            new.write_text("".join(f"{line}\n" for line in packages))
            new.rename(known)
        shutil.copyfile(known, self.job.resultdir / "installed_pkgs.log")

    def _install(self, requirements: Sequence[str], upper: Path, work: Path) -> None:
        """Into an overlay of its own, by dnf from outside."""
        from builder.tools.dnf import Dnf  # noqa: PLC0415  most builds find their layer and start faster without

        root, folder = self.job.work / "l", self.job.work / "dnf"
        root.mkdir()
        overlay((self.job.base / ROOT,), upper, work, root)
        try:
            api_filesystems(root)
            # Links to the base's metadata: dnf replaces files, it never writes into one.
            shutil.copytree(self.job.base / CACHE / "cache", folder / "cache", copy_function=os.link)
            dnf = Dnf(self.job.chroot, folder, fresh=False)
            dnf.install(root, requirements, timeout=self.job.timeout, log=self.root_log)
        except ToolTimeoutError:
            raise
        except RepobuildError as exc:
            raise dependency_failure(self.job.subject, self.root_log) from exc
        finally:
            _end_everything_else()
            unmount(root)
        self._share_downloads(dnf.cache)

    def _share_downloads(self, cache: Path) -> None:
        """Packages that were downloaded serve the next build over this base too."""
        for package in cache.glob("*/packages/*.rpm"):
            shared = self.job.base / CACHE / "cache" / package.relative_to(cache)
            shared.parent.mkdir(exist_ok=True)
            with suppress(FileExistsError):
                os.link(package, shared)

    def compile(self, spec: str) -> None:
        """rpmbuild; then nothing that it started is left running."""
        try:
            argv = ["rpmbuild", "-bb", "--nodeps", "--target", self.job.arch, spec]
            self.inside(argv, log=self.build_log)
        except ToolTimeoutError:
            raise
        except RepobuildError as exc:
            raise rpmbuild_failure(self.job.subject, "the build failed", self.build_log) from exc
        finally:
            _end_everything_else()

    def collect(self) -> None:
        """Copy the RPMs; the tree is the build's, so nothing but a regular file of its own is taken."""
        found = 0
        for _top, folders, files, folder in os.fwalk(".", dir_fd=_open_below(self.root, f"{_TOP}/RPMS")):
            folders.sort()
            for name in sorted(files):
                if name.endswith(".rpm"):
                    _copy_regular(folder, name, self.job.resultdir / name)
                    found += 1
        if not found:
            raise BuildError(f"{self.job.subject}: rpmbuild ended well but made no RPM", log=self.build_log)
        shutil.copyfile(self.job.srpm, self.job.resultdir / self.job.srpm.name)


def build(job: BuildJob) -> None:
    """Do a build job; raises BuildError and its kind, ToolTimeoutError for a step that ran too long."""
    this = _Build(job)
    name = job.srpm.name
    with ExitStack() as stack, this.state("run"):
        with this.state(f"build setup for {name}"):
            this.prepare()
            this.mount()
            spec = this.unpack()
            stack.enter_context(this.installed(this.requirements(spec)))
        with this.state(f"rpmbuild {name}"):
            this.compile(spec)
        try:
            this.collect()
        except OSError as exc:
            if is_full(exc):
                raise disk_full(job.subject, [str(exc)], this.build_log) from exc
            raise BuildError(f"{job.subject}: the RPMs cannot be taken out: {exc}", log=this.build_log) from exc


def _end_everything_else() -> None:
    """SIGKILL to every other process of this pid namespace, until there is none; a build's daemons must not live on."""
    if os.getpid() != 1:
        return
    while True:
        with suppress(ChildProcessError):
            while os.waitpid(-1, os.WNOHANG) != (0, 0):
                pass
        try:
            os.kill(-1, signal.SIGKILL)
        except ProcessLookupError:
            return
        time.sleep(_PAUSE)


def _open_below(root: Path, path: str) -> int:
    """A descriptor of a folder below a root; a symlink on the way, which would lead out of the root, is refused."""
    fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    for part in path.strip("/").split("/"):
        below = os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=fd)
        os.close(fd)
        fd = below
    return fd


def _copy_regular(folder: int, name: str, target: Path) -> None:
    fd = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
    with os.fdopen(fd, "rb") as reader:
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            raise BuildError(f"{name}: the build put something else than a file in the place of an RPM")
        with target.open("wb") as writer:
            shutil.copyfileobj(reader, writer, 1 << 20)
