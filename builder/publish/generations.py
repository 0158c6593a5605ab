"""The folders of a published repository: immutable generations, and the symlink that makes one of them current.

Layout::

    <repo>/.generations/<digest>/       repodata/ (or streams/) publication.json support-matrix.… former.json
                                        Packages, SRPMS -> the pool that it shares with others (pool.py)
    <repo>/<distribution>/<arch>        -> ../.generations/<digest>
    <repo>/RPM-GPG-KEY-repobuild  <repo>/<distribution>.repo
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import LockedError, PublishError, RepobuildError
from builder.model.lifetimes import DEFAULT_RETENTION
from builder.model.publication import Publication
from builder.publish.in_flight import keep_reachable, named_rpms
from builder.publish.pool import Pool, all_pools, pool_of
from builder.publish.record import RECORD, read_record
from builder.store.files import os_failure, remove_tree, sync_path

_TMP = ".tmp-"
FORMER_GENERATIONS = DEFAULT_RETENTION.former_generations


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """One published generation on disk, as its publication.json says."""

    digest: str
    distribution: str
    arch: str
    path: Path
    files: dict[str, str]  # RPM file name → sha256
    nevras: dict[str, str]  # NEVRA → sha256
    packages: int  # binary RPMs
    made: float  # when it was written, seconds since the epoch


class Repository:
    """Every path of a published repository."""

    def __init__(self, repo: Path) -> None:
        self.root = repo.absolute()
        self.generations = self.root / ".generations"

    def current_link(self, distribution: str, arch: str) -> Path:
        """The symlink that clients use."""
        return self.root / distribution / arch

    def current(self, distribution: str, arch: str) -> str | None:
        """Digest of the current generation, None when nothing is published."""
        link = self.current_link(distribution, arch)
        return link.readlink().name if link.is_symlink() else None

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Hold the repository's lock; leftovers of a killed run are removed first, RPMs that nobody names in the end.

        Raises LockedError when another repobuild publishes here. Operating-system failures become PublishError or
        DiskFullError.
        """
        try:
            self.generations.mkdir(mode=0o755, parents=True, exist_ok=True)
            fd = os.open(self.generations / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                _lock(fd, self.root)
                for leftover in (*self.generations.glob(f"{_TMP}*"), *self.root.glob(f"*/{_TMP}*")):
                    remove_tree(leftover)
                self._tidy()
                try:
                    yield
                finally:
                    self._tidy()
            finally:
                os.close(fd)
        except RepobuildError:
            raise
        except OSError as exc:
            failure = os_failure(exc, self.root)
            if type(failure).code == "disk-full":
                raise failure from exc
            raise PublishError(failure.message, hint="the current publication is untouched") from exc

    @contextmanager
    def aside(self) -> Iterator[Path]:
        """A folder to build a generation in; removed when it was not moved to its place."""
        folder = Path(tempfile.mkdtemp(prefix=_TMP, dir=self.generations))
        folder.chmod(0o755)
        try:
            yield folder
        finally:
            remove_tree(folder)

    def place(self, digest: str) -> Path:
        """Where the generation of a digest lies or would lie."""
        return self.generations / digest

    def pool(self, distribution: str, arch: str, key: str) -> Pool:
        """Where generations that this key signs have their RPMs."""
        return Pool(self.root, distribution, arch, key)

    def _tidy(self) -> None:
        """Take what no generation names any more out of the pools that were changed."""
        for pool in (one for one in all_pools(self.root) if one.is_marked):
            pool.tidy(self._needed(pool))

    def _needed(self, pool: Pool) -> set[str] | None:
        """Places of RPMs that generations on disk name; None where one of them cannot tell."""
        needed: set[str] = set()
        for folder in self.folders():
            own = pool_of(folder)
            if own is not None and own.names == pool.names:
                try:
                    needed.update(named_rpms(folder))
                except PublishError:
                    return None
        return needed

    def find(self, distribution: str, arch: str) -> tuple[Generation, ...]:
        """The generations of a distribution × arch on disk, by digest."""
        found = []
        for record in sorted(self.generations.glob(f"*/{RECORD}")):
            if record.parent.name.startswith("."):
                continue
            generation = read_generation(record.parent)
            if (generation.distribution, generation.arch) == (distribution, arch):
                found.append(generation)
        return tuple(found)

    def linked(self) -> frozenset[str]:
        """Digests of the generations that are current for any distribution × arch, of this matrix or not."""
        return frozenset(link.readlink().name for link in self.root.glob("*/*") if link.is_symlink())

    def folders(self) -> tuple[Path, ...]:
        """The folders of all generations, whole or damaged, by digest. Their modification time is when they were
        current last, or made.
        """
        return tuple(sorted(p for p in self.generations.glob("[!.]*") if p.is_dir()))

    def remove(self, digest: str) -> None:
        """Take a generation away, renamed first so that it is never half there; call while ``writing``."""
        if digest in self.linked():
            raise PublishError(f"{digest}: is current")
        self._mark(digest)
        grave = Path(tempfile.mkdtemp(prefix=_TMP, dir=self.generations))
        self.place(digest).rename(grave / "old")
        remove_tree(grave)

    def keep_reachable(self, distribution: str, arch: str, digest: str, former: int, *, tidy: bool = True) -> None:
        """Link into a generation that is to be current what clients may have read of the ``former`` ones that were."""
        current = self.current(distribution, arch)
        if current != digest:
            self._mark(digest)
            self._mark(current)
        keep_reachable(self.place(digest), self.place(current) if current is not None else None, former, tidy=tidy)

    def _mark(self, digest: str | None) -> None:
        pool = pool_of(self.place(digest)) if digest is not None else None
        if pool is not None:
            pool.mark()

    def switch(self, distribution: str, arch: str, digest: str) -> None:
        """Make a generation current by one rename(2)."""
        link = self.current_link(distribution, arch)
        if link.exists() and not link.is_symlink():
            raise PublishError(f"{link}: is not a symlink of ours", hint="move it away, or publish to another --repo")
        link.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        fresh = link.parent / f"{_TMP}{arch}"
        fresh.unlink(missing_ok=True)
        fresh.symlink_to(Path("..") / self.generations.name / digest)
        before = self.current(distribution, arch)
        fresh.replace(link)
        for place in (self.place(d) for d in (before, digest) if d is not None):
            if place.is_dir():
                os.utime(place)  # when it was current last, for `repobuild gc`
        sync_path(link.parent)
        sync_path(self.root)


def _lock(fd: int, root: Path) -> None:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        raise LockedError(f"{root}: another repobuild publishes here", hint="run again when it has ended") from exc


def read_generation(path: Path) -> Generation:
    """Read a generation's record; raises PublishError when it is not one of ours."""
    try:
        record = read_record(path)
        files = {str(row["file"]).rsplit("/", 1)[-1]: str(row["sha256"]) for row in record["packages"]}
        return Generation(
            digest=path.name,
            distribution=str(record["distribution"]),
            arch=str(record["arch"]),
            path=path,
            files=files,
            nevras={str(row["nevra"]): str(row["sha256"]) for row in record["packages"]},
            made=(path / RECORD).stat().st_mtime,
            packages=sum(not name.endswith(".src.rpm") for name in files),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise PublishError(f"{path / RECORD}: damaged: {exc}", hint="move this generation away") from exc


def current_generation(repo: Path, distribution: str, arch: str) -> str | None:
    """Digest of what clients of a distribution × arch see, None when nothing is published."""
    return Repository(repo).current(distribution, arch)


def find_generation(repo: Path, distribution: str, arch: str, digest: str | None = None) -> Generation:
    """The one generation on disk whose digest begins so; without a digest the one made before the current one.

    Raises PublishError, listing what there is, when not exactly one fits.
    """
    repository = Repository(repo)
    known = sorted(repository.find(distribution, arch), key=lambda g: (g.made, g.digest))
    current = repository.current(distribution, arch)
    if not known:
        raise PublishError(f"{repo}: nothing is published here for {distribution}/{arch}")
    if digest is None:
        digests = [g.digest for g in known]
        place = digests.index(current) if current in digests else 0
        if place > 0:
            return known[place - 1]
        raise PublishError(
            f"{distribution}/{arch}: no generation was made before the current one",
            details=_listed(known, current),
            hint="name one of these by its first digits",
        )
    fitting = [generation for generation in known if digest and generation.digest.startswith(digest)]
    if len(fitting) != 1:
        raise PublishError(
            f"{distribution}/{arch}: {len(fitting) or 'no'} generations begin with {digest!r}",
            details=_listed(known, current),
            hint="name one of these by its first digits",
        )
    return fitting[0]


def _listed(known: list[Generation], current: str | None) -> list[str]:
    """Digest, when it was made, which one is current; oldest first."""
    return [
        f"{g.digest} {datetime.fromtimestamp(g.made, UTC):%Y-%m-%d %H:%M}{' (current)' if g.digest == current else ''}"
        for g in known
    ]


def rollback(
    repo: Path,
    distribution: str,
    arch: str,
    digest: str | None = None,
    *,
    renew: Callable[[Repository, str], bool] | None = None,
    former: int = FORMER_GENERATIONS,
) -> Publication:
    """Make another generation on disk current again, chosen as by ``find_generation``; raises what that raises.

    ``renew`` gives the chosen one a manifest with a new number before it is switched to, where it needs one, and says
    whether it did. Without, its manifest stays the one it had: who verifies it sees what it is, an older publication.
    """
    repository = Repository(repo)
    if not repository.generations.is_dir():
        raise PublishError(f"{repo}: nothing is published here")
    with repository.writing():
        chosen = find_generation(repo, distribution, arch, digest)
        current = repository.current(distribution, arch)
        # A manifest that stays as it is goes on listing what it lists.
        repository.keep_reachable(distribution, arch, chosen.digest, former, tidy=renew is not None)
        renewed = renew is not None and renew(repository, chosen.digest)
        if chosen.digest != current:
            repository.switch(distribution, arch, chosen.digest)
        return Publication(
            digest=chosen.digest,
            distribution=distribution,
            arch=arch,
            path=chosen.path,
            current=repository.current_link(distribution, arch),
            packages=chosen.packages,
            changed=chosen.digest != current,
            renewed=renewed,
        )
