"""A publication to a folder, a host (rsync over ssh) or an rsync daemon: laid out as here, switched by one rename.

Order: the generation, complete, in a folder of its own; keys and ``.repo`` files; the symlink, which rsync replaces by
rename(2); then the state. Killed between any two, clients see the publication they saw before, or the new one whole.
The new generation also gets what the target's former ones had and it has not, as hard links: a client that began before
the switch finds its metadata and packages under the same addresses until they expire.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import TargetError, ToolError, ToolMissingError
from builder.publish.clients import KEY_FILE
from builder.publish.content_checks import reuse_faults
from builder.publish.generations import Generation, Repository
from builder.publish.order import LOGS, Role, is_immutable, role_of
from builder.publish.pushed import Pushed, refuse_other_bytes
from builder.publish.record import RECORD
from builder.publish.target_state import STATES, TargetState, read_state, state_name, write_state
from builder.publish.tree_files import own_files, root_files
from builder.publish.trees import POOL_LINK, STREAMS
from builder.store.files import link_file
from builder.tools.rsync import Rsync, open_rsync

_LINK_DESTS = 20  # rsync takes no more
_LEFT = (".*.??????", "publication-manifest.*.asc")  # what no publication needs: see _put_content


class RsyncTarget:
    """One target of rsync; ``step`` is told before each thing that changes it."""

    def __init__(
        self, url: str, place: str, *, ssh_config: Path | None = None, step: Callable[[str], object] = lambda _: None
    ) -> None:
        self.url = url
        self._place = place.rstrip("/")
        self._ssh_config = ssh_config
        self._step = step

    def push(self, repository: Repository, generation: Generation, *, now: float, keep: float) -> Pushed:
        """Make a generation the current one there; see ``pipeline.push``. Call while ``repository.writing``."""
        with tempfile.TemporaryDirectory() as made, open_rsync(self._place, self._ssh_config) as rsync:
            push = _Push(self.url, self._place, rsync, self._step, Path(made))
            return push.run(repository, generation, now=now, keep=keep)


class _Push:
    """One push of one generation."""

    def __init__(self, url: str, place: str, rsync: Rsync, step: Callable[[str], object], tmp: Path) -> None:
        self.url = url
        self._place = place
        self._rsync = rsync
        self._step = step
        self._tmp = tmp

    def run(self, repository: Repository, generation: Generation, *, now: float, keep: float) -> Pushed:
        """See RsyncTarget."""
        tmp = self._tmp
        self._prepare(tmp / "empty", generation)
        there = Repository(tmp / "there")
        state = self._look(there.root, generation)
        current = there.current(generation.distribution, generation.arch)
        known = [g for g in there.find(generation.distribution, generation.arch) if g.digest != generation.digest]
        refuse_other_bytes(self.url, reuse_faults(generation.files, {g.digest: g.files for g in known}))
        self._check_key(repository, there.root)
        state = state.begin(generation.digest, {})
        self._put_state(tmp, generation, state)
        before = [d for d in (current, *state.generations) if d and d != generation.digest]
        expired = state.expired(now, keep)
        with repository.aside() as aside:
            staged = aside / generation.digest
            added = _stage(repository, generation, [d for d in before if d not in expired], staged)
            self._put_content(staged, generation, known, live=current == generation.digest)
        self._put_logs(repository)
        self._put_root(repository, generation, manifest=False)
        self._switch(tmp, generation)
        self._put_root(repository, generation, manifest=True)
        self._withdraw(repository, tmp)
        state = state.switched(generation.digest, now)
        self._put_state(tmp, generation, state)
        self._remove(tmp / "empty", generation, state, expired)
        return Pushed(
            target=self.url,
            distribution=generation.distribution,
            arch=generation.arch,
            digest=generation.digest,
            changed=current != generation.digest,
            kept_files=added,
            removed=len(expired),
        )

    def _prepare(self, empty: Path, generation: Generation) -> None:
        """The folders, so that what follows finds them; nothing is changed where they are."""
        for name in (".generations", STATES, generation.distribution):
            (empty / name).mkdir(parents=True)
        self._step("folders")
        with self._failures("make its folders"):
            self._rsync.copy([f"{empty}/"], f"{self._place}/")

    def _look(self, to: Path, generation: Generation) -> TargetState:
        """Fetch records, state, key and symlink: the truth about the target."""
        mine = (f"/{generation.distribution}/", f"/{generation.distribution}/{generation.arch}")
        records = ("/.generations/", "/.generations/*/", f"/.generations/*/{RECORD}")
        wanted = (*records, f"/{STATES}/", f"/{STATES}/*", f"/{KEY_FILE}", *mine)
        to.mkdir()
        with self._failures("be read"):
            self._rsync.copy([f"{self._place}/"], f"{to}/", *(f"--include={p}" for p in wanted), "--exclude=*")
        (to / ".generations").mkdir(exist_ok=True)
        link = to / generation.distribution / generation.arch
        if link.exists() and not link.is_symlink():
            raise TargetError(
                f"{self.url}: {generation.distribution}/{generation.arch} is not a symlink of ours",
                hint="move it away there, or push to another target",
            )
        state = to / state_name(generation.distribution, generation.arch)
        try:
            return read_state(state.read_bytes() if state.is_file() else None)
        except ValueError as exc:
            raise TargetError(f"{self.url}: {state.name} {exc}", hint="move it away there") from exc

    def _check_key(self, repository: Repository, there: Path) -> None:
        ours, theirs = repository.root / KEY_FILE, there / KEY_FILE
        published = any((there / ".generations").glob(f"*/{RECORD}"))
        if published and theirs.is_file() and theirs.read_bytes() != ours.read_bytes():
            raise TargetError(
                f"{self.url}: its {KEY_FILE} holds another key than this repository's",
                hint="its clients trust that one: push to another target, or publish under that key",
            )

    def _put_content(self, staged: Path, generation: Generation, known: list[Generation], *, live: bool) -> None:
        """All files; the record last, it says that the rest is there.

        Of a live generation nothing is removed but what a killed rsync left, which is called ``.<name>.<six letters>``,
        and signatures of manifests that were replaced.

        rsync takes files of one size and time for the same: true of packages, whose names stand for their bytes, not of
        two repomd.xml written within a second. So everything else is compared by its bytes.
        """
        at = f"{self._place}/.generations/{generation.digest}/"
        links = [f"--link-dest=../{g.digest}" for g in sorted(known, key=lambda g: -g.made)[:_LINK_DESTS]]
        only = [*(f"--filter=risk {name}" for name in _LEFT), "--filter=protect *"] if live else []
        delete = ["--delete-after", *only]
        self._step("content")
        with self._failures("get the packages"):
            self._rsync.copy([f"{staged}/"], at, f"--exclude=/{RECORD}", *links, *delete)
            pools = ("--exclude=/Packages/", "--exclude=/SRPMS/")
            self._rsync.copy([f"{staged}/"], at, f"--exclude=/{RECORD}", "--checksum", *pools)
        self._step("record")
        with self._failures("get the record"):
            self._rsync.copy([staged / RECORD], at, "--checksum")

    def _put_logs(self, repository: Repository) -> None:
        """What the page beside them will link to."""
        if not (repository.root / LOGS).is_dir():
            return
        self._step("logs")
        with self._failures("get the logs"):
            only = ("--include=/*.log", "--exclude=*")
            self._rsync.copy([f"{repository.root / LOGS}/"], f"{self._place}/{LOGS}/", "--checksum", *only)

    def _withdraw(self, repository: Repository, tmp: Path) -> None:
        """Logs that are published no more, and signatures of lists that were replaced. Nothing else that lies there."""
        (tmp / "none" / LOGS).mkdir(parents=True)
        self._step("withdraw")
        ours = (f"--include=/{LOGS}/", f"--include=/{LOGS}/{'[0-9a-f]' * 10}.log", "--include=/site-manifest.*.asc")
        # Without a folder of logs the folder there is emptied, not removed: it may be another one's.
        logs = [] if (repository.root / LOGS).is_dir() else [f"{tmp}/none/"]
        with self._failures("forget old logs"):
            only = ("--existing", "--ignore-existing", "--delete", *ours, "--exclude=*")
            self._rsync.copy([f"{repository.root}/", *logs], f"{self._place}/", *only)

    def _put_root(self, repository: Repository, generation: Generation, *, manifest: bool) -> None:
        """Files beside the distributions: keys and ``.repo`` files before the switch, signed records after it."""
        files = [
            str(path)
            for name, path in root_files(repository.root).items()
            if role_of(name) is not Role.LOG and (role_of(name) is Role.RECORD) == manifest
        ]
        self._step(f"root files{' (records)' if manifest else ''} of {generation.distribution}")
        with self._failures("get keys and .repo files"):
            if files:
                self._rsync.copy(files, f"{self._place}/", "--checksum")

    def _switch(self, tmp: Path, generation: Generation) -> None:
        link = tmp / "link" / generation.distribution / generation.arch
        link.parent.mkdir(parents=True)
        link.symlink_to(Path("..", ".generations", generation.digest))
        self._step("switch")
        with self._failures("be switched"):  # from the top: a daemon takes the .. away of a link on its first level
            self._rsync.copy([f"{tmp}/link/"], f"{self._place}/")

    def _put_state(self, tmp: Path, generation: Generation, state: TargetState) -> None:
        file = tmp / state_name(generation.distribution, generation.arch).rsplit("/", 1)[-1]
        file.write_bytes(write_state(state))
        self._step("state")
        with self._failures("remember what it has"):
            self._rsync.copy([file], f"{self._place}/{STATES}/", "--checksum")

    def _remove(self, empty: Path, generation: Generation, state: TargetState, expired: tuple[str, ...]) -> None:
        """Generations that no client needs any more: an empty folder is mirrored over each, the rest is excluded."""
        if not expired:
            return
        names = [*(f"--include=/{digest}/***" for digest in expired), "--exclude=*"]
        self._step("remove")
        with self._failures("forget old generations"):
            self._rsync.copy([f"{empty}/.generations/"], f"{self._place}/.generations/", "--delete", *names)
        self._put_state(empty.parent, generation, state.without(expired))

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise TargetError(
                f"{self.url}: cannot {what}: {exc.message}",
                details=exc.details,
                hint="clients there see a whole publication; push again, it goes on from there",
            ) from exc


def _stage(repository: Repository, generation: Generation, former: list[str], staged: Path) -> int:
    """Link a generation and what former ones had beside it into a folder, which has RPMs of its own: a target gets no
    pool, so that one generation there is one folder. Returns how many files were added.

    Not only what publishing keeps in a generation (in_flight.py): that counts publications, a target the days since its
    own switches, and of those it may have seen others.
    """
    for name, path in own_files(generation.path):
        link_file(path, staged / name)
    for link in generation.path.glob(f"{STREAMS}/*/Packages"):
        (staged / link.relative_to(generation.path)).symlink_to(POOL_LINK)
    added = 0
    for digest in former:
        for name, path in own_files(repository.place(digest)):
            if is_immutable(name) and not (staged / name).exists():
                link_file(path, staged / name)
                added += 1
    for folder in (staged, *(path for path in staged.rglob("*") if path.is_dir() and not path.is_symlink())):
        folder.chmod(0o755)  # whatever the umask: rsync gives the target these modes
    return added
