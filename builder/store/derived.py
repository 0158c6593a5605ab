"""What follows from content and takes time to make: looked up by kind and key, gone without harm when it is lost.

Nothing here is the only copy of anything. A row that was damaged, or a file that cannot be read, is as one that is not
there; what cannot be written is made again the next time.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from builder.store.databases import asked

_SCHEMA = 1
_TABLE = """
CREATE TABLE IF NOT EXISTS derived (
    kind TEXT NOT NULL, key TEXT NOT NULL, value BLOB NOT NULL, digest BLOB NOT NULL, PRIMARY KEY (kind, key));
"""


class Derived:
    """Values by (kind, key), in a file or, without one, for as long as the object lives."""

    def __init__(self, path: Path | None = None, *, replace: bool = True) -> None:
        """A file that is damaged or of another version is replaced; without ``replace`` it is left alone."""
        try:
            self._db = _open(path)
        except sqlite3.Error:
            if path is None:
                raise
            if not replace:
                self._db = _open(None)
                return
            for name in (path.name, f"{path.name}-wal", f"{path.name}-shm"):
                path.with_name(name).unlink(missing_ok=True)
            try:
                self._db = _open(path)
            except sqlite3.Error:  # no place for it: the next time
                self._db = _open(None)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def get(self, kind: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The values that are there, by key."""
        try:
            return {key: value for key, value, digest in self._rows(kind, keys) if _digest(value) == digest}
        except sqlite3.Error:
            return {}

    def _rows(self, kind: str, keys: Sequence[str]) -> Iterator[tuple[str, bytes, bytes]]:
        for marks, some in asked(keys):
            question = f"SELECT key, value, digest FROM derived WHERE kind = ? AND key IN ({marks})"  # noqa: S608
            yield from self._db.execute(question, (kind, *some))

    def put(self, kind: str, values: Mapping[str, bytes]) -> None:
        """Keep values, in place of those that are there."""
        if not values:
            return
        rows = [(kind, key, value, _digest(value)) for key, value in values.items()]
        with suppress(sqlite3.Error), self._db:
            self._db.executemany("INSERT OR REPLACE INTO derived VALUES (?, ?, ?, ?)", rows)

    def count(self, kind: str) -> int:
        """How many values of a kind there are."""
        return int(self._db.execute("SELECT COUNT(*) FROM derived WHERE kind = ?", (kind,)).fetchone()[0])

    def forget(self, unwanted: Callable[[str, str], bool]) -> int:
        """Remove what ``unwanted`` says of kind and key; returns how many rows went."""
        with suppress(sqlite3.Error), self._db:
            gone = [row for row in self._db.execute("SELECT kind, key FROM derived") if unwanted(*row)]
            self._db.executemany("DELETE FROM derived WHERE kind = ? AND key = ?", gone)
            return len(gone)
        return 0


def _open(path: Path | None) -> sqlite3.Connection:
    database = sqlite3.connect(path or ":memory:", timeout=30, check_same_thread=False)
    try:
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=NORMAL")
        version = database.execute("PRAGMA user_version").fetchone()[0]
        if version not in (0, _SCHEMA):
            raise sqlite3.DatabaseError(f"of version {version}")  # noqa: TRY301  as a damaged one
        database.executescript(_TABLE)
        database.execute(f"PRAGMA user_version={_SCHEMA}")
    except BaseException:
        database.close()
        raise
    return database


def _digest(value: bytes) -> bytes:
    return hashlib.sha256(value).digest()[:16]
