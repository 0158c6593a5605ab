"""The RPMs of a distribution × arch, each once, for all its generations (docs/adr/0034-shared-packages.md).

Layout::

    <repo>/.pool/<distribution>/<arch>/<key>/Packages/<letter>/*.rpm  SRPMS/*.rpm
    <repo>/.generations/<digest>/Packages  -> ../../.pool/<distribution>/<arch>/<key>/Packages; SRPMS likewise

An RPM is there before the generation that names it, and gets its name only when all of it is there. It leaves when no
generation on disk names it, neither as its own nor for clients in flight. A pool is of one signing key: whoever trusts
the key of a generation trusts those of all generations that share its RPMs, and so can tell them from a stranger's.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path

from builder.errors import PublishError, ToolError
from builder.model.cells import Artifact
from builder.publish.unchanged import Unchanged
from builder.store import Derived
from builder.store.files import link_file, remove_tree, sync_path
from builder.tools.rpms import read_artifact

POOL = ".pool"  # sorts behind .generations: who copies both in order has the RPMs of each generation that it copied
TOPS = ("Packages", "SRPMS")
_BELOW = tuple(f"{top}/" for top in TOPS)
_UNTIDY, _FRESH = ".untidy", ".fresh"
_MODE = stat.S_IFREG | 0o644  # whatever the umask: a web server of another user reads them
_READ = "read"  # kind of rows: bytes and NEVRA were looked at
_NO_LINK = (errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ENOTSUP)


class Pool:
    """One pool; whoever changes it holds the repository's lock."""

    def __init__(self, root: Path, *names: str) -> None:
        """``names``: distribution, arch and fingerprint below the repository ``root``."""
        self.root = root
        self.names = names
        self.folder = root.joinpath(POOL, *names)

    def share(self, generation: Path) -> None:
        """Let a generation that is being made have its RPMs here; raises PublishError where its links lead astray."""
        for top in TOPS:
            place = self.folder / top
            self._make(place)
            (generation / top).symlink_to(Path("..", "..", POOL, *self.names, top))
            if not (generation / top).is_dir() or not (generation / top).samefile(place):
                raise PublishError(
                    f"{generation.parent}: lies elsewhere than {self.root / POOL}",
                    hint="both must be folders of one repository: generations reach their packages by relative links",
                )

    def fill(self, expected: Mapping[str, Artifact], derived: Derived, near: Path | None = None) -> None:
        """Have these RPMs, by their places, readable for all and synced. Of those that are here already, and that
        nobody wrote to since they were read, nothing but their state is looked at.

        ``near`` is a generation that may have them in a folder of its own; where the store is on another filesystem
        they are linked from there and not copied. Raises PublishError for one that is not there, or has not the bytes
        and the NEVRA that it is said to have.
        """
        states = self._states(expected)
        added: set[str] = set()
        for href, artifact in expected.items():
            if artifact.sha256 not in states:
                states[artifact.sha256] = self._take(href, artifact, near)
                added.add(href.rpartition("/")[0])
        # In the order of the publication: what is remembered of files that follow each other is found by it again.
        states = {artifact.sha256: states[artifact.sha256] for artifact in expected.values()}
        unchanged = Unchanged(derived, _READ)
        known = unchanged.find(states)
        read = []
        for href, artifact in expected.items():
            sha256, nevra = artifact.sha256, str(artifact.nevra)
            if sha256 not in known:
                known[sha256] = self._read(href, artifact, states)
                read.append((sha256, states[sha256], known[sha256]))
            if known[sha256] != nevra:
                raise PublishError(f"{artifact.path}: is {known[sha256]}, was said to be {nevra}")
            if states[sha256].st_size != artifact.size:
                raise PublishError(f"{artifact.path}: its bytes are not those that were signed")
        for folder in sorted(added):
            sync_path(self.folder / folder)
        unchanged.remember(read)

    def add(self, source: Path, href: str, near: Path | None = None, *, replace: bool = False) -> None:
        """Give a file its place by one link(2) or, copied and synced, by one rename(2). Raises FileNotFoundError."""
        self.mark()
        target = self.folder / href
        self._make(target.parent)
        for one in () if replace else (source, near / href if near is not None else source):
            try:
                os.link(one, target)
            except FileNotFoundError:
                if one is source:
                    raise
            except OSError as exc:
                if exc.errno not in _NO_LINK:
                    raise
            else:
                return
        fresh = self.folder / _FRESH
        fresh.unlink(missing_ok=True)
        if not link_file(source, fresh):
            fresh.chmod(0o644)
            sync_path(fresh)
        fresh.replace(target)

    def mark(self) -> None:
        """What is here may be more than what is needed, until ``tidy``."""
        if self.folder.is_dir():
            (self.folder / _UNTIDY).touch()

    @property
    def is_marked(self) -> bool:
        """Whether somebody changed something and did not tidy."""
        return (self.folder / _UNTIDY).exists()

    def tidy(self, needed: Collection[str] | None) -> None:
        """Remove what is neither ``needed`` nor a stranger's; None: who needs what cannot be told, so RPMs stay."""
        remove_tree(self.folder / _FRESH)
        if needed is not None:
            for top in TOPS:
                self._sweep(top, needed)
        (self.folder / _UNTIDY).unlink(missing_ok=True)

    def _sweep(self, folder: str, needed: Collection[str]) -> None:
        """Names alone are compared: they are ten thousand."""
        place = self.folder / folder
        names = os.listdir(place) if place.is_dir() else ()  # noqa: PTH208  no Path of each
        for href in {f"{folder}/{name}" for name in names}.difference(needed):
            path = self.folder / href
            if path.is_dir() and not path.is_symlink():
                self._sweep(href, needed)
            elif href.endswith(".rpm"):
                path.unlink()

    def _make(self, folder: Path) -> None:
        if not folder.is_dir():
            self._make(folder.parent)
            folder.mkdir(exist_ok=True)
            folder.chmod(0o755)
            sync_path(folder.parent)

    def _states(self, expected: Mapping[str, Artifact]) -> dict[str, os.stat_result]:
        """By sha256, of the files that are here; no Path is made of any, and each folder is opened once: they are ten
        thousand.
        """
        states = {}
        descriptors: dict[str, int | None] = {}
        with ExitStack() as stack:
            for href, artifact in expected.items():
                folder, _, name = href.rpartition("/")
                if folder not in descriptors:
                    descriptors[folder] = fd = self._open(folder)
                    if fd is not None:
                        stack.callback(os.close, fd)
                fd = descriptors[folder]
                if fd is None:
                    continue
                try:
                    state = os.stat(name, dir_fd=fd, follow_symlinks=False)
                except FileNotFoundError:
                    continue
                if state.st_mode != _MODE:
                    if not stat.S_ISREG(state.st_mode):
                        continue
                    os.chmod(name, 0o644, dir_fd=fd)
                states[artifact.sha256] = state
        return states

    def _open(self, folder: str) -> int | None:
        try:
            return os.open(self.folder / folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except FileNotFoundError:
            return None

    def _take(
        self, href: str, artifact: Artifact, near: Path | None = None, *, replace: bool = False
    ) -> os.stat_result:
        place = self.folder / href
        try:
            self.add(artifact.path, href, near, replace=replace or place.is_symlink() or place.exists())
        except FileNotFoundError as exc:
            raise PublishError(f"{artifact.nevra}: {artifact.path} is not there") from exc
        state = place.stat()
        if state.st_mode != _MODE:
            place.chmod(0o644)
        return state

    def _read(self, href: str, artifact: Artifact, states: dict[str, os.stat_result]) -> str:
        """The NEVRA of a file with the right bytes; one that was harmed here and not in the store is replaced."""
        try:
            return _nevra(self.folder / href, artifact)
        except PublishError:
            if not artifact.path.is_file() or artifact.path.samefile(self.folder / href):
                raise
            states[artifact.sha256] = self._take(href, artifact, replace=True)
            return _nevra(self.folder / href, artifact)


def _nevra(path: Path, artifact: Artifact) -> str:
    try:
        found = read_artifact(path)
    except ToolError as exc:
        raise PublishError(f"{artifact.path}: {exc.message}") from exc
    if found.sha256 != artifact.sha256:
        raise PublishError(f"{artifact.path}: its bytes are not those that were signed")
    return str(found.nevra)


def pool_of(generation: Path) -> Pool | None:
    """Where a generation has its RPMs; None: in folders of its own, as those of former versions and of bundles."""
    link = generation / TOPS[0]
    if not link.is_symlink():
        return None
    parts = link.readlink().parts
    return Pool(generation.resolve().parents[1], *parts[3:-1]) if parts[:3] == ("..", "..", POOL) else None


def is_shared(href: str) -> bool:
    """Whether a place of a generation is in its pool, where it has one."""
    return href.startswith(_BELOW)


def pool_files(folder: Path) -> Iterator[tuple[str, str]]:
    """Place and path of everything in the folders of RPMs of a pool, or of a generation that has links to one."""
    for top in TOPS:
        if (folder / top).is_dir():
            yield from _below(f"{folder}/", f"{top}/")


def _below(top: str, below: str) -> Iterator[tuple[str, str]]:
    with os.scandir(top + below) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _below(top, f"{below}{entry.name}/")
        else:
            yield below + entry.name, entry.path


def all_pools(root: Path) -> tuple[Pool, ...]:
    """Every pool of a repository."""
    folders = (path for path in sorted((root / POOL).glob("*/*/*")) if path.is_dir())
    return tuple(Pool(root, *path.relative_to(root / POOL).parts) for path in folders)
