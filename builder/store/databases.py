"""What SQLite's failures mean to users: a disk that is full is no damaged file."""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.errors import DiskFullError, StoreError

_BATCH = 500  # keys a question: below SQLite's limit of parameters in every version
_ROOM = 64 << 10  # bytes: SQLite's shared memory alone takes half of it
# What it says where a file beside the database cannot grow; the first means it by itself (sqlite.org/rescode.html).
_NO_ROOM = frozenset({sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN})


def asked(keys: Sequence[str]) -> Iterator[tuple[str, Sequence[str]]]:
    """Keys, as many as one question takes, each time with its marks: ``?,?,?``."""
    for start in range(0, len(keys), _BATCH):
        some = keys[start : start + _BATCH]
        yield ",".join("?" * len(some)), some


@contextmanager
def told(path: Path, what: str, hint: str) -> Iterator[None]:
    """Raise a failure of the database at ``path`` as DiskFullError where its disk is full, else as StoreError."""
    try:
        yield
    except sqlite3.DatabaseError as exc:
        if _full(exc, path):
            raise DiskFullError(
                f"{path}: no space left on device", hint="free space and run again: what was finished is kept"
            ) from exc
        raise StoreError(f"{path}: {what}: {exc}", hint=hint) from exc


def _full(exc: sqlite3.DatabaseError, path: Path) -> bool:
    code = getattr(exc, "sqlite_errorcode", 0) & 0xFF  # the rest says more of the same
    return code == sqlite3.SQLITE_FULL or (code in _NO_ROOM and shutil.disk_usage(path.parent).free < _ROOM)
