"""The work folder: sources, prepared trees, results, signed copies, base roots, logs, the ledger and its lock.

Layout (docs/work-folder.md)::

    lock  readers  ledger.sqlite  logs/<unit>/  tmp/
    store/sources/<sha256>/<filename>  store/partial/<digest of URL>/
    store/<kind>/<key>/                kind: prepared, modules, results, signed, roots
                                       and trees: a driver's open tree, built from source
    store/serials.json                 the newest serials of results that were removed
    store/derived.sqlite               what need not be made again of packages and cells; no loss

A folder of a kind is either whole or absent: it is filled in tmp/, synced, and renamed into place. The modification
time of ``store/<kind>/<key>`` and of ``store/sources/<sha256>`` is when a writer used it last.
"""

# Longer than other files: every path of the work folder is made here and nowhere else.

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.errors import StoreError
from builder.model.cells import BuildResult
from builder.store.derived import Derived
from builder.store.files import SharedSync, os_failure, remove_tree, sync_path, sync_tree
from builder.store.ledger import Ledger
from builder.store.locks import READERS, hold_off_removals, no_reader, take_lock
from builder.store.numbers import Serials
from builder.store.results import RESULT_FILE, read_result, result_document
from builder.store.serials import read_serials, remember_serials
from builder.store.shared import SHARED, SharedStore

DERIVED = "store/derived.sqlite"
KINDS = ("prepared", "trees", "modules", "results", "signed", "roots")


class Store:
    """Every path of one work folder. Open with ``Store.open``; use as a context manager."""

    def __init__(
        self,
        work: Path,
        ledger: Ledger,
        lock_fd: int | None,
        *,
        shared: SharedStore | None = None,
        vanish: Callable[[], None] | None = None,
    ) -> None:
        self.work = work
        self.ledger = ledger
        self.shared = shared
        self.serials = Serials(ledger, shared)
        self._lock_fd = lock_fd
        self._readers_fd: int | None = None
        self._vanish = vanish
        self._derived: Derived | None = None
        self._syncs = SharedSync()
        self._used: set[tuple[str, str]] = set()
        self._missed: set[tuple[str, str]] = set()  # asked for in the shared store, and not there

    @property
    def used(self) -> frozenset[tuple[str, str]]:
        """(kind, key) of what was looked up and found since the store was opened; kind "sources", too."""
        return frozenset(self._used)

    @classmethod
    def open(cls, work: Path, *, exclusive: bool = True, shared: SharedStore | None = None) -> Self:
        """Open (and make) a work folder, over a store that other machines share where one is given.

        A writer takes from there what it lacks and gives there what it finishes; readers only ask what there is.

        ``exclusive`` takes the lock for writers, raising LockedError when another repobuild holds it, empties tmp/
        and adopts results that a crash left without a ledger row. Readers pass False and change nothing but files
        that are missing; while they look, nothing is removed under them.
        """
        work = work.absolute()
        _make_folders(work)
        lock_fd = take_lock(work / "lock") if exclusive else None
        store = cls(work, Ledger(work / "ledger.sqlite", writes=exclusive), lock_fd, shared=shared)
        if exclusive:
            store._recover()
        else:
            store._readers_fd = hold_off_removals(work / READERS)
        return store

    @classmethod
    def open_empty(cls, shared: SharedStore | None = None) -> Self:
        """A store that holds nothing and is gone when it is closed, for looking where no work folder is yet."""
        folder = tempfile.TemporaryDirectory(prefix="repobuild-")
        work = Path(folder.name)
        _make_folders(work)
        return cls(work, Ledger(work / "ledger.sqlite", writes=False), None, shared=shared, vanish=folder.cleanup)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @property
    def derived(self) -> Derived:
        """What is kept of packages and cells so that it need not be made again."""
        if self._derived is None:
            self._derived = Derived(self.work / DERIVED, replace=self._lock_fd is not None)
        return self._derived

    def close(self) -> None:
        """Close the ledger and give the lock back."""
        self.ledger.close()
        if self._derived is not None:
            self._derived.close()
            self._derived = None
        for fd in (self._lock_fd, self._readers_fd):
            if fd is not None:
                os.close(fd)
        self._lock_fd = self._readers_fd = None
        if self._vanish is not None:
            self._vanish()

    def _recover(self) -> None:
        for leftover in (self.work / "tmp").iterdir():
            remove_tree(leftover)
        known = self.ledger.result_keys()
        self.ledger.adopt_removed(read_serials(self.work))
        top = self.work / "store/results"
        for name in sorted(set(os.listdir(top)) - known):  # noqa: PTH208  as names: there are thousands
            folder = top / name
            if (folder / RESULT_FILE).is_file():
                result = read_result(folder)
                finished = (folder / RESULT_FILE).stat().st_mtime
                self.ledger.record_result(result.key, result.unit_id, result.seconds, finished)
                self.ledger.adopt_serial(result.unit_id, result.serial, result.content)

    @contextmanager
    def tmp(self) -> Iterator[Path]:
        """A fresh folder on the store's filesystem, removed afterwards."""
        folder = Path(tempfile.mkdtemp(dir=self.work / "tmp"))
        try:
            yield folder
        except OSError as exc:
            raise os_failure(exc, folder) from exc
        finally:
            remove_tree(folder)

    def logs(self, unit_id: str) -> Path:
        """Folder for the logs of a unit's newest failed attempt; its name is the id with ``/`` made ``_``."""
        return self.work / "logs" / re.sub(r"[^A-Za-z0-9@._+:~-]", "_", unit_id)

    def source_path(self, sha256: str, filename: str) -> Path:
        """Where a source of that digest lies or would lie."""
        return self.work / "store/sources" / sha256 / filename

    def source(self, sha256: str, filename: str) -> Path | None:
        """A source that is here, None when it is not; says nothing of its bytes."""
        path = self.source_path(sha256, filename)
        if not path.is_file():
            return None
        self._use("sources", sha256, path.parent)
        return path

    def partial_path(self, url: str) -> Path:
        """Folder for the unfinished download of a URL."""
        folder = self.work / "store/partial" / hashlib.sha256(url.encode()).hexdigest()[:32]
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def add_source(self, file: Path, sha256: str, filename: str) -> Path:
        """Move a fetched, hashed file of the store's filesystem into its place; idempotent."""
        target = self.source_path(sha256, filename)
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            sync_path(file)
            file.replace(target)
            sync_path(target.parent)
        return target

    def folder(self, kind: str, key: str) -> Path | None:
        """The whole folder of that kind and key, None when there is none. A writer takes it from a shared store."""
        path = self._place(kind, key)
        if not os.path.isdir(path) and not self._take(kind, key):  # noqa: PTH112  asked for every cell there is
            return None
        self._use(kind, key, path)
        return path

    def has(self, kind: str, key: str) -> bool:
        """Is there such a folder, here or (as far as is known) in the shared store? Takes nothing from there."""
        if self.here(kind, key):
            self._use(kind, key, self._place(kind, key))
            return True
        return self.shared is not None and self.shared.has(kind, key)

    def here(self, kind: str, key: str) -> bool:
        """Is there such a folder on this machine?"""
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not one of {KINDS}")
        return os.path.isdir(f"{self.work}/store/{kind}/{key}")  # noqa: PTH112  asked for every cell there is

    def _take(self, kind: str, key: str) -> bool:
        """Take a folder from the shared store and index it; False when it cannot be had whole."""
        if self.shared is None or self._lock_fd is None or kind not in SHARED or (kind, key) in self._missed:
            return False
        place = self._place(kind, key)
        with self.tmp() as tmp:
            new = tmp / "new"
            new.mkdir()
            if not self.shared.take(kind, key, new):
                self._missed.add((kind, key))
                return False
            try:
                result = read_result(new, key) if kind == "results" else None
            except StoreError as exc:
                self.shared.damaged(kind, key, exc.message)
                return False
            self._move(new, place)
        if result is not None:
            self.ledger.record_result(key, result.unit_id, result.seconds, time.time())
        return True

    def give_used(self) -> None:
        """Give the shared store what this run used and it lacks: made before there was one, or while it was away."""
        if self.shared is None:
            return
        for kind, key in sorted(self._used):
            if kind not in SHARED or not self.here(kind, key):
                continue
            if kind == "results":
                result = read_result(self._place(kind, key))
                self.serials.share(result.unit_id, result.serial, result.content)
            if not self.shared.has(kind, key):
                self.shared.give(kind, key, self._place(kind, key))

    def _use(self, kind: str, key: str, path: Path) -> None:
        """Remember that it was used; a writer on the disk, for `repobuild gc`."""
        if (kind, key) not in self._used:
            self._used.add((kind, key))
            if self._lock_fd is not None:
                with suppress(OSError):  # a store that cannot be written says nothing of its use
                    os.utime(path)

    def put_folder(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Fill a temporary folder and make it the folder of ``kind`` and ``key`` by one rename.

        Idempotent: a folder that is there already is kept and ``fill`` is not called. What ``fill`` raises is
        passed on and nothing is kept; a full disk becomes DiskFullError.
        """
        place = self._place(kind, key)
        if self.folder(kind, key) is not None:
            return place
        with self.tmp() as tmp:
            new = tmp / "new"
            new.mkdir()
            fill(new)
            self._move(new, place)
        self._use(kind, key, place)
        if self.shared is not None:
            self.shared.give(kind, key, place)
        return place

    def _move(self, new: Path, place: Path) -> None:
        sync_tree(new)
        try:
            new.rename(place)
        except OSError:  # another worker was first with the same content
            if not place.is_dir():
                raise
        self._syncs.sync(place.parent)

    def remove_folder(self, kind: str, key: str) -> None:
        """Take a folder away (renamed to tmp/ first, so that it is never half there)."""
        place = self._place(kind, key)
        if place.is_dir():
            grave = Path(tempfile.mkdtemp(dir=self.work / "tmp"))
            place.rename(grave / "old")
            remove_tree(grave)

    @contextmanager
    def removing(self) -> Iterator[Callable[[Path], None]]:
        """Wait until nobody looks, then give what takes files and folders of the work folder away, each by one rename.

        What was taken is deleted after readers were let in again; a killed removal is ended by the next writer.
        """
        with self.tmp() as grave:
            numbers = itertools.count()
            with no_reader(self.work / READERS):
                yield lambda path: _rename(path, grave / str(next(numbers)))

    def retire(self, results: Iterable[BuildResult]) -> None:
        """Keep the serials of results that are about to be removed, for a ledger that is lost later."""
        remember_serials(self.work, {result.unit_id: result.serial for result in results})

    def _place(self, kind: str, key: str) -> Path:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not one of {KINDS}")
        return Path(f"{self.work}/store/{kind}/{key}")  # a third of the time of joining: asked for every cell

    def add_result(self, key: str, unit_id: str, seconds: float, fill: Callable[[Path], BuildResult]) -> BuildResult:
        """Put a build's resultdir into the store and index it; ``fill`` moves the files and describes them."""

        def write(folder: Path) -> None:
            result = fill(folder)
            (folder / RESULT_FILE).write_text(json.dumps(result_document(result), indent=1, sort_keys=True))

        folder = self.put_folder("results", key, write)
        self.ledger.record_result(key, unit_id, seconds, time.time())
        return read_result(folder)

    def result(self, key: str) -> BuildResult | None:
        """The result of a key, None when there is none. Raises StoreError when its files are damaged."""
        folder = self.folder("results", key)
        return None if folder is None else read_result(folder)


def _rename(path: Path, target: Path) -> None:
    path.rename(target)


def _make_folders(work: Path) -> None:
    try:
        for folder in ("tmp", "logs", "store/sources", "store/partial", *(f"store/{k}" for k in KINDS)):
            (work / folder).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_failure(exc, work) from exc
