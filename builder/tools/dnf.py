"""dnf on installroots: a configuration of our own, never the host's repositories, plugins or database."""

from __future__ import annotations

import configparser
import hashlib
import json
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from urllib.parse import urlsplit

from builder.errors import ToolError
from builder.model.chroots import Chroot
from builder.model.sources import LockedRpm
from builder.tools.machine import in_user_namespace
from builder.tools.repomd import combined_state, repository_url
from builder.tools.rpmbuild import dbpath
from builder.tools.run import Completed, run, which

_PLUGINS = Path(__file__).parent / "dnf_plugins"
_LOCK = "repobuild_lock"
_DOWNLOAD_TIMEOUT = 1800.0  # seconds
_OPTIONS: Mapping[str, str] = {
    "assumeyes": "1",
    "best": "1",
    "deltarpm": "0",
    "install_weak_deps": "0",
    "keepcache": "1",
    "obsoletes": "1",
    "plugins": "0",
    "protected_packages": "",
    "retries": "3",
    "skip_if_unavailable": "0",
    "timeout": "30",
    "tsflags": "nodocs",
}


class Dnf:
    """dnf for one chroot description, with a folder of its own for cache, logs and configuration.

    dnf's lock is a pid file in the cache: two builds in pid namespaces of their own must not share a cache folder.
    ``fresh`` False never asks a repository again for the metadata that the cache has.
    """

    def __init__(self, chroot: Chroot, folder: Path, *, fresh: bool = True) -> None:
        self.chroot = chroot
        self.cache = folder / "cache"
        self._folder = folder
        self._home = folder / "home"
        self._config = folder / "dnf.conf"
        for place in (self.cache, self._home):
            place.mkdir(parents=True, exist_ok=True)
        # rpm has no option for this inside dnf, and Debian's default database is ~/.rpmdb.
        macros = f"%_dbpath {dbpath(chroot)}\n%_flush_io 0\n"
        if in_user_namespace():  # /proc and /sys belong to nobody there, and rpm could not chown them
            macros += "%_netsharedpath /proc:/sys\n"
        (self._home / ".rpmmacros").write_text(macros)
        with self._config.open("w") as file:
            self._configuration(fresh=fresh).write(file)

    def install(self, root: Path, specs: Sequence[str], *, timeout: float, log: Path) -> None:
        """Install packages or capabilities into a root; raises ToolError with dnf's words as details."""
        self._run(["install", *specs], root=root, timeout=timeout, log=log)

    def download(self, spec: str, arch: str, folder: Path) -> Path:
        """Download one package (not its dependencies) and return it; raises ToolError where there is none."""
        empty = self._home / "root"
        plugin = ["--setopt=plugins=1", "--disableplugin=*", "--enableplugin=download"]
        self._run(
            [*plugin, "download", f"--destdir={folder}", f"--forcearch={arch}", spec],
            root=empty,
            timeout=_DOWNLOAD_TIMEOUT,
            log=None,
        )
        found = sorted(folder.glob("*.rpm"))
        if len(found) != 1:
            raise ToolError(f"{spec}: dnf downloaded {len(found)} packages", details=[p.name for p in found])
        return found[0]

    def solve(self, specs: Sequence[str], *, timeout: float) -> tuple[LockedRpm, ...]:
        """What ``install`` of these into an empty root would bring, sorted; nothing is downloaded.

        dnf decides, and a plugin of ours writes down what. Raises ToolError with dnf's words where it finds no way.
        """
        place = self._folder / "lock.json"
        place.unlink(missing_ok=True)
        ours = ["--setopt=plugins=1", f"--setopt=pluginpath={_PLUGINS}", "--disableplugin=*"]
        argv = [*ours, f"--enableplugin={_LOCK}", "--assumeno", "install", *specs]
        env = {"REPOBUILD_LOCK": str(place)}
        # Where it was resolved, dnf ends with 1: nobody said yes.
        done = self._run(argv, root=self._home / "root", timeout=timeout, log=None, env=env, ok=(0, 1))
        if not place.is_file():
            lines = (done.stdout + done.stderr).splitlines()
            raise ToolError("dnf cannot resolve what a buildroot needs", details=lines[-20:])
        rows = json.loads(place.read_text())
        return tuple(LockedRpm(nevra=nevra, sha256=sha256, url=url) for nevra, sha256, url in rows)

    def state(self) -> str:
        """The repository state (see builder.tools.repomd) that the cached metadata are of."""
        digests = []
        for repository in self.chroot.repositories:
            found = [p for p in self.cache.glob("*/repodata/repomd.xml") if _cache_id(p) == repository.id]
            if len(found) != 1:
                raise ToolError(f"repository {repository.id}: dnf keeps {len(found)} sets of its metadata")
            digests.append(hashlib.sha256(found[0].read_bytes()).hexdigest())
        return combined_state(self.chroot, digests)

    def _run(
        self,
        words: Sequence[str],
        *,
        root: Path,
        timeout: float,
        log: Path | None,
        env: Mapping[str, str] | None = None,
        ok: Collection[int] = (0,),
    ) -> Completed:
        argv: list[str | Path] = ["dnf", "-q", "-y", "-c", self._config, f"--installroot={root}"]
        # dnf puts the installroot before these when a configuration file says them, not when --setopt does.
        # logdir stays as it is, /var/log of the installroot: half of dnf's logs ignore a setting.
        places = {"cachedir": self.cache, "persistdir": self._folder / "persist"}
        argv += [f"--setopt={name}={place}" for name, place in places.items()]
        argv += [f"--releasever={self.chroot.releasever}", *words]
        return run(argv, timeout=timeout, env={"HOME": str(self._home), **(env or {})}, log=log, ok=ok)

    def _configuration(self, *, fresh: bool) -> configparser.RawConfigParser:
        nowhere = str(self._folder / "none")
        config = configparser.RawConfigParser()
        config["main"] = {
            **_OPTIONS,
            "metadata_expire": "0" if fresh else "never",
            "pluginconfpath": nowhere,
            "reposdir": nowhere,
            "varsdir": nowhere,
        }
        for repository in self.chroot.repositories:
            section = {
                "name": repository.id,
                "baseurl": repository_url(repository, self.chroot),
                "enabled": "1",
                "gpgcheck": str(int(repository.gpgcheck)),
            }
            if repository.gpgkey:
                section["gpgkey"] = (
                    repository.gpgkey if urlsplit(repository.gpgkey).scheme else f"file://{repository.gpgkey}"
                )
            config[repository.id] = section
        return config


def _cache_id(repomd: Path) -> str:
    """The repository's id: dnf's cache folders are named <id>-<16 hex digits of the URL's digest>."""
    return repomd.parent.parent.name[:-17]


def resolves() -> bool:
    """Whether ``Dnf.solve`` works here: dnf 5 takes no plugins in Python."""
    program = which("dnf")
    return program is not None and program.resolve().name != "dnf5"
