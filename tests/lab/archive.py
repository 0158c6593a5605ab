"""A private apt: asks the host's own package archive what there is, and downloads from it; /etc/apt is only read.

It works from an empty package database, so a closure holds everything down to libc. Versions move: nothing is pinned
here; callers ask and choose by rule.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeAlias

from builder.tools.run import run, which

# The release after the host's: newer kernels and drivers come from there, by name, never by default.
NEXT = {"bookworm": "trixie", "trixie": "forky"}
POCKETS = ("", "-updates", "-security", "-backports")  # suites of one release: "bookworm", "bookworm-updates", …
COMPONENTS = "main contrib non-free non-free-firmware"
FRESH = 24 * 3600.0  # seconds that package lists are used before they are asked for again
UNUSED = 30 * FRESH  # seconds after which a package that nobody took is removed
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "repobuild"


class LabUnavailableError(Exception):
    """The lab cannot be made on this machine; says why."""


Later: TypeAlias = Callable[[str], str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """One version of a package that the archive offers."""

    name: str
    version: str
    suite: str


class Archive:
    """The host's archive seen through a configuration of our own, kept under ``<cache>/apt``."""

    def __init__(
        self, cache: Path = CACHE, later: Later = lambda suite: NEXT.get(suite, ""), *, sources: bool = True
    ) -> None:
        """``later`` says which release beside the host's is looked at, "" for none; without ``sources`` only binaries
        of main are."""
        self._entry = _entry if sources else partial(_entry, types="deb", components="main")
        if which("apt-get") is None:
            raise LabUnavailableError("the lab is made from a Debian-family archive; this host has no apt")
        self._root = cache / "apt"
        self._config = self._root / "apt.conf"
        # On the command line, because images of containers switch these off in a file that is read after ours; without
        # them each question takes seconds.
        self._caches = [f"-oDir::Cache::{name}={self._root / f'{name}.bin'}" for name in ("pkgcache", "srcpkgcache")]
        self.suite = _os_release("VERSION_CODENAME")
        self.suites = [suite for suite in (self.suite, later(self.suite)) if suite]
        self._write()

    def _write(self) -> None:
        for folder in ("lists/partial", "archives/partial", "sources"):
            (self._root / folder).mkdir(parents=True, exist_ok=True)
        _write_if_changed(self._root / "status", "")
        sources = "\n".join(self._entry(uris, suites, key) for uris, suites, key in self._wanted())
        pins = "\n".join(
            f"Package: *\nPin: release n={suite}*\nPin-Priority: {priority}\n"
            for suite, priority in zip(self.suites, (700, 100), strict=False)
        )
        _write_if_changed(self._root / "archive.sources", sources)
        _write_if_changed(self._root / "preferences", pins)
        settings = {
            "Dir::Etc::sourcelist": self._root / "archive.sources",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": self._root / "preferences",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State::status": self._root / "status",
            "Dir::State::lists": self._root / "lists",
            "Dir::State::extended_states": self._root / "extended_states",
            "Dir::Cache::archives": self._root / "archives",
            "Acquire::Languages": "none",
            "APT::Install-Recommends": "0",
            "APT::Sandbox::User": "root",
            "APT::Keep-Downloaded-Packages": "1",
        }
        _write_if_changed(self._config, "".join(f'{name} "{value}";\n' for name, value in settings.items()))

    def _wanted(self) -> list[tuple[str, list[str], str]]:
        """``(uris, suites, signed-by)`` of the distribution's own entries, widened to the next release."""
        wanted = []
        for uris, suites, key in own_sources(Path("/etc/apt"), _os_release("ID"), self.suite):
            own = [s for s in suites if s.removeprefix(self.suite) in POCKETS]
            if own:
                more = [s.replace(self.suite, other, 1) for other in self.suites[1:] for s in own]
                wanted.append((uris, [*own, *more], key))
        if not wanted:
            raise LabUnavailableError(f"no apt source of {self.suite} on this host")
        return wanted

    def _apt(self, *argv: str, timeout: float = 900, cwd: Path | None = None) -> str:
        environment = {"APT_CONFIG": str(self._config), "HOME": "/root", "DEBIAN_FRONTEND": "noninteractive"}
        proxies = {k: v for k, v in os.environ.items() if k.lower().endswith("_proxy") or k.startswith("SSL_")}
        with (self._root / "lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)  # apt does not wait for another apt, it fails
            words = [argv[0], *self._caches, *argv[1:]]
            return run(words, timeout=timeout, env={**environment, **proxies}, cwd=cwd).stdout

    def _ask(self, *argv: str) -> str:
        """A question whose answer depends on the package lists only; answers are kept until the lists change."""
        stamp = self._root / "updated"
        lists = f"{stamp.stat().st_mtime_ns if stamp.exists() else 0} {(self._root / 'archive.sources').read_text()}"
        digest = hashlib.sha256("\0".join([lists, *argv]).encode()).hexdigest()
        answer = self._root / "answers" / digest
        try:
            return answer.read_text()
        except FileNotFoundError:
            text = self._apt(*argv)
        answer.parent.mkdir(exist_ok=True)
        with tempfile.NamedTemporaryFile("w", dir=self._root, delete=False) as file:
            file.write(text)
        Path(file.name).replace(answer)
        return text

    def update(self, *, force: bool = False) -> None:
        """Refresh the package lists unless they are less than a day old."""
        stamp = self._root / "updated"
        if force or not stamp.exists() or time.time() - stamp.stat().st_mtime > FRESH:
            self._apt("apt-get", "update", "-qq")
            shutil.rmtree(self._root / "answers", ignore_errors=True)
            stamp.touch()
            self._remove_unused()

    def _remove_unused(self) -> None:
        """Downloads of states of the archive that are long gone."""
        for file in (self._root / "archives").glob("*.deb"):
            with suppress(FileNotFoundError):  # somebody else does the same
                if time.time() - max(file.stat().st_mtime, file.stat().st_ctime) > UNUSED:
                    file.unlink()

    def candidates(self, names: Sequence[str]) -> dict[str, list[Candidate]]:
        """Every version of these binary packages, newest first; an empty list for one that there is not."""
        found: dict[str, list[Candidate]] = {name: [] for name in names}
        for line in self._ask("apt-cache", "madison", *names).splitlines():
            fields = [f.strip() for f in line.split("|")]
            if len(fields) == 3 and fields[2].endswith("Packages") and fields[0] in found:
                suite = fields[2].split()[1].partition("/")[0]
                found[fields[0]].append(Candidate(name=fields[0], version=fields[1], suite=suite))
        return found

    def names(self, pattern: str) -> list[str]:
        """Package names that match a regular expression as a whole."""
        compiled = re.compile(pattern)
        prefix = re.match(r"[a-z0-9-]*", pattern)
        listed = self._ask("apt-cache", "pkgnames", prefix[0] if prefix else "").split()
        return sorted(n for n in listed if compiled.fullmatch(n))

    def depends(self, names: Sequence[str]) -> dict[str, list[str]]:
        """Names that each package Depends on, virtual ones left as they are."""
        found: dict[str, list[str]] = {}
        here: list[str] = []
        for line in self._ask("apt-cache", "depends", "--no-recommends", "--no-suggests", *names).splitlines():
            if not line.startswith(" "):
                here = found.setdefault(line.strip(), [])
            elif line.strip().startswith("Depends:"):
                here.append(line.split()[-1].strip("<>"))
        return found

    def closure(self, specs: Sequence[str], suite: str = "") -> list[str]:
        """File names of all that installing ``specs`` (``name``, ``name=version``, ``name/suite``) on nothing needs.

        ``suite`` resolves all of them in another release than the host's.
        """
        text = self._ask("apt-get", "install", "-s", *_resolution(suite), *specs)
        found = re.findall(r"^Inst (\S+) \((\S+) .*\[(\w+)\]\)", text, re.MULTILINE)
        return sorted(f"{name}_{version.replace(':', '%3a')}_{arch}.deb" for name, version, arch in found)

    def download_closure(self, specs: Sequence[str], suite: str = "") -> list[Path]:
        """Download a closure; complete files are kept. Paths in name order."""
        folder = self._root / "archives"
        files = [folder / name for name in self.closure(specs, suite)]
        _use(files)
        missing = [file.name.split("_")[:2] for file in files if not file.is_file()]
        if missing:  # by name and version: to resolve all of it again takes seconds
            wanted = [f"{name}={version.replace('%3a', ':')}" for name, version in missing]
            self._apt("apt-get", "download", "-qq", *wanted, cwd=folder)
        return files

    def files(self, specs: Iterable[str]) -> dict[str, str]:
        """File name of each ``name`` (its candidate) or ``name=version``, by name; LabUnavailableError for none."""
        found = {}
        for stanza in self._ask("apt-cache", "show", "--no-all-versions", *specs).split("\n\n"):
            fields = dict(re.findall(r"^(Package|Version|Architecture): (\S+)$", stanza, re.MULTILINE))
            if "Package" not in fields:
                continue
            version = fields["Version"].replace(":", "%3a")
            found[fields["Package"]] = f"{fields['Package']}_{version}_{fields['Architecture']}.deb"
        return found

    def download(self, specs: Sequence[str], folder: Path | None = None) -> dict[str, Path]:
        """Download these packages only (no dependencies): name → file. Complete files are kept."""
        folder = folder or self._root / "archives"
        folder.mkdir(parents=True, exist_ok=True)
        files = {name: folder / file for name, file in self.files(specs).items()}
        _use(files.values())
        missing = [spec for spec in specs if not files[spec.partition("=")[0]].is_file()]
        if missing:
            self._apt("apt-get", "download", "-qq", *missing, cwd=folder)
        return files


def _use(files: Iterable[Path]) -> None:
    """Note that they are used now."""
    for file in files:
        with suppress(FileNotFoundError):
            os.utime(file)


def _resolution(suite: str) -> list[str]:
    return ["--no-install-recommends", *(["-t", suite] if suite else [])]


def _write_if_changed(path: Path, text: str) -> None:
    """Leave equal files alone: apt throws its package cache away when one of them is newer."""
    if not path.is_file() or path.read_text() != text:
        path.write_text(text)


def _os_release(key: str) -> str:
    for line in Path("/etc/os-release").read_text().splitlines():
        name, _, value = line.partition("=")
        if name == key:
            return value.strip('"')
    raise LabUnavailableError(f"/etc/os-release has no {key}")


def own_sources(etc: Path, distribution: str, suite: str) -> list[tuple[str, list[str], str]]:
    """``(uris, suites, signed-by)`` of the distribution's own entries under ``etc`` (/etc/apt), both formats.

    Third parties use the same suite names; theirs have no component ``main`` or another key.
    """
    own = {f"{suite}{pocket}" for pocket in POCKETS}
    return [
        (uris, suites, key)
        for uris, suites, components, key in [*_deb822(etc), *_one_line(etc)]
        if own & set(suites) and "main" in components and (not key or f"{distribution}-archive" in key)
    ]


def _deb822(etc: Path) -> Iterator[tuple[str, list[str], list[str], str]]:
    for path in sorted((etc / "sources.list.d").glob("*.sources")):
        for stanza in re.split(r"\n\s*\n", path.read_text()):
            lines = [line for line in stanza.splitlines() if not line.startswith("#")]
            fields = dict(line.split(":", 1) for line in lines if re.match(r"[A-Za-z-]+:", line))
            off = fields.get("Enabled", "yes").strip().lower() in ("no", "false", "0")
            if "URIs" in fields and "deb" in fields.get("Types", "").split() and not off:
                words = [fields.get(name, "").split() for name in ("Suites", "Components")]
                yield fields["URIs"].strip(), words[0], words[1], fields.get("Signed-By", "").strip()


def _one_line(etc: Path) -> Iterator[tuple[str, list[str], list[str], str]]:
    for path in [etc / "sources.list", *sorted((etc / "sources.list.d").glob("*.list"))]:
        for line in path.read_text().splitlines() if path.is_file() else []:
            match = re.match(r"deb\s+(?:\[(?P<options>[^\]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)(?P<rest>.*)", line)
            if match:
                key = re.search(r"signed-by=(\S+)", match["options"] or "")
                yield match["uri"], [match["suite"]], match["rest"].partition("#")[0].split(), key[1] if key else ""


def _entry(uris: str, suites: list[str], key: str, *, types: str = "deb deb-src", components: str = COMPONENTS) -> str:
    signed = f"Signed-By: {key}\n" if key else ""
    return f"Types: {types}\nURIs: {uris}\nSuites: {' '.join(suites)}\nComponents: {components}\n{signed}\n"
