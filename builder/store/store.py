"""The work folder: sources, prepared trees, results, signed copies, base roots, logs, the ledger and its lock.

Layout (docs/work-folder.md)::

    lock  ledger.sqlite  logs/<unit>/  tmp/
    store/sources/<sha256>/<filename>  store/partial/<digest of URL>/
    store/<kind>/<key>/                kind: prepared, modules, results, signed, roots

A folder of a kind is either whole or absent: it is filled in tmp/, synced, and renamed into place.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from builder.errors import LockedError
from builder.model.cells import BuildResult
from builder.store.files import os_failure, remove_tree, sync_path, sync_tree
from builder.store.ledger import Ledger
from builder.store.results import RESULT_FILE, read_result, result_document

KINDS = ("prepared", "modules", "results", "signed", "roots")


class Store:
    """Every path of one work folder. Open with ``Store.open``; use as a context manager."""

    def __init__(
        self, work: Path, ledger: Ledger, lock_fd: int | None, *, vanish: Callable[[], None] | None = None
    ) -> None:
        self.work = work
        self.ledger = ledger
        self._lock_fd = lock_fd
        self._vanish = vanish

    @classmethod
    def open(cls, work: Path, *, exclusive: bool = True) -> Self:
        """Open (and make) a work folder.

        ``exclusive`` takes the lock for writers, raising LockedError when another repobuild holds it, empties tmp/
        and adopts results that a crash left without a ledger row. Readers pass False and change nothing but files
        that are missing.
        """
        work = work.absolute()
        _make_folders(work)
        lock_fd = _take_lock(work / "lock") if exclusive else None
        store = cls(work, Ledger(work / "ledger.sqlite"), lock_fd)
        if exclusive:
            store._recover()
        return store

    @classmethod
    def open_empty(cls) -> Self:
        """A store that holds nothing and is gone when it is closed, for looking where no work folder is yet."""
        folder = tempfile.TemporaryDirectory(prefix="repobuild-")
        work = Path(folder.name)
        _make_folders(work)
        return cls(work, Ledger(work / "ledger.sqlite"), None, vanish=folder.cleanup)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the ledger and give the lock back."""
        self.ledger.close()
        if self._lock_fd is not None:
            os.close(self._lock_fd)
            self._lock_fd = None
        if self._vanish is not None:
            self._vanish()

    def _recover(self) -> None:
        for leftover in (self.work / "tmp").iterdir():
            remove_tree(leftover)
        known = self.ledger.result_keys()
        for folder in sorted((self.work / "store/results").iterdir()):
            if folder.name not in known and (folder / RESULT_FILE).is_file():
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
        """The whole folder of that kind and key, None when there is none."""
        path = self._place(kind, key)
        return path if path.is_dir() else None

    def put_folder(self, kind: str, key: str, fill: Callable[[Path], None]) -> Path:
        """Fill a temporary folder and make it the folder of ``kind`` and ``key`` by one rename.

        Idempotent: a folder that is there already is kept and ``fill`` is not called. What ``fill`` raises is
        passed on and nothing is kept; a full disk becomes DiskFullError.
        """
        place = self._place(kind, key)
        if place.is_dir():
            return place
        with self.tmp() as tmp:
            new = tmp / "new"
            new.mkdir()
            fill(new)
            sync_tree(new)
            try:
                new.rename(place)
            except OSError:  # another worker was first with the same content
                if not place.is_dir():
                    raise
            sync_path(place.parent)
        return place

    def remove_folder(self, kind: str, key: str) -> None:
        """Take a folder away (renamed to tmp/ first, so that it is never half there)."""
        place = self._place(kind, key)
        if place.is_dir():
            grave = Path(tempfile.mkdtemp(dir=self.work / "tmp"))
            place.rename(grave / "old")
            remove_tree(grave)

    def _place(self, kind: str, key: str) -> Path:
        if kind not in KINDS:
            raise ValueError(f"{kind!r} is not one of {KINDS}")
        return self.work / "store" / kind / key

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


def _make_folders(work: Path) -> None:
    try:
        for folder in ("tmp", "logs", "store/sources", "store/partial", *(f"store/{k}" for k in KINDS)):
            (work / folder).mkdir(parents=True, exist_ok=True)
    except OSError as exc:
        raise os_failure(exc, work) from exc


def _take_lock(path: Path) -> int:
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:  # a disk that was remounted read-only after an error, say
        raise os_failure(exc, path) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(fd, 200, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise LockedError(
            f"{path.parent}: another repobuild works here (process {owner})",
            hint="wait for it, or give this run a --work folder of its own",
        ) from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd
