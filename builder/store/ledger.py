"""The ledger: what was done, in SQLite (WAL). The store's folders are the truth; rows index and explain them."""

from __future__ import annotations

import sqlite3
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from builder.errors import StoreError
from builder.store.databases import asked, told
from builder.store.history import TABLES, History

SCHEMA = 1
_TABLES = """
CREATE TABLE IF NOT EXISTS results (
    key TEXT PRIMARY KEY, unit_id TEXT NOT NULL, seconds REAL NOT NULL, finished REAL NOT NULL);
CREATE INDEX IF NOT EXISTS results_unit ON results (unit_id);
CREATE TABLE IF NOT EXISTS failures (
    unit_id TEXT NOT NULL, key TEXT, stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    details TEXT NOT NULL, log TEXT, happened REAL NOT NULL);
CREATE INDEX IF NOT EXISTS failures_unit ON failures (unit_id, happened);
CREATE TABLE IF NOT EXISTS verdicts (
    key TEXT NOT NULL, level TEXT NOT NULL, ok INTEGER NOT NULL, document TEXT NOT NULL, PRIMARY KEY (key, level));
CREATE TABLE IF NOT EXISTS serials (
    scope TEXT NOT NULL, serial INTEGER NOT NULL, content TEXT NOT NULL, PRIMARY KEY (scope, serial));
CREATE TABLE IF NOT EXISTS claims (
    store TEXT NOT NULL, name TEXT NOT NULL, scope TEXT NOT NULL, serial INTEGER NOT NULL, content TEXT NOT NULL,
    PRIMARY KEY (store, name));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Failure:
    """Why a unit did not get through a stage the last time it was tried."""

    unit_id: str
    key: str | None
    stage: str  # fetch, build, qualify
    code: str  # RepobuildError.code
    message: str
    details: tuple[str, ...]
    log: Path | None
    happened: float  # seconds since the epoch


class Ledger:
    """One SQLite connection shared by the worker threads of one process."""

    def __init__(self, path: Path, *, writes: bool = True) -> None:
        """``writes`` False: of a reader, which records nothing."""
        self.writes = writes
        self._lock = RLock()
        self._path = path
        hint = "move the file away: results are kept in their folders and are indexed again"
        with told(path, "the ledger cannot be read", hint):
            self._db = sqlite3.connect(path, timeout=30, check_same_thread=False, isolation_level=None)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute("PRAGMA synchronous=FULL")
            version = self._db.execute("PRAGMA user_version").fetchone()[0]
            if version not in (0, SCHEMA):
                raise StoreError(
                    f"{path}: ledger of version {version}, this repobuild reads version {SCHEMA}",
                    hint="use the repobuild that wrote it, or another --work folder",
                )
            self._db.executescript(_TABLES + TABLES)
            self._db.execute(f"PRAGMA user_version={SCHEMA}")
        self.history = History(self._db, self._lock, path)

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock, told(self._path, "the ledger cannot be written", "run again: results are kept"):
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:  # SQLite itself ends one that finds no place
                    self._db.execute("ROLLBACK")
                raise

    def record_result(self, key: str, unit_id: str, seconds: float, finished: float) -> None:
        """A result folder is whole; failures of the unit before it are history."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO results VALUES (?, ?, ?, ?)", (key, unit_id, seconds, finished))
            db.execute("DELETE FROM failures WHERE unit_id = ?", (unit_id,))

    def record_failure(self, failure: Failure) -> None:
        """Remember the newest failure of a unit (older ones of it are dropped)."""
        with self._transaction() as db:
            db.execute("DELETE FROM failures WHERE unit_id = ?", (failure.unit_id,))
            db.execute(
                "INSERT INTO failures VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (
                    failure.unit_id,
                    failure.key,
                    failure.stage,
                    failure.code,
                    failure.message,
                    "\n".join(failure.details),
                    str(failure.log) if failure.log else None,
                    failure.happened,
                ),
            )

    def failure(self, unit_id: str) -> Failure | None:
        """The unit's newest failure, None when its last try went through."""
        with self._lock:
            row = self._db.execute("SELECT * FROM failures WHERE unit_id = ?", (unit_id,)).fetchone()
        if row is None:
            return None
        return Failure(
            unit_id=row[0],
            key=row[1],
            stage=row[2],
            code=row[3],
            message=row[4],
            details=tuple(row[5].splitlines()),
            log=Path(row[6]) if row[6] else None,
            happened=row[7],
        )

    def keys_of(self, unit_id: str) -> tuple[str, ...]:
        """Keys of all results of a unit, newest first."""
        with self._lock:
            rows = self._db.execute("SELECT key FROM results WHERE unit_id = ? ORDER BY finished DESC, key", (unit_id,))
            return tuple(row[0] for row in rows)

    def finished(self, key: str) -> float | None:
        """When a result was finished (seconds since the epoch), None where it is not indexed."""
        with self._lock:
            row = self._db.execute("SELECT finished FROM results WHERE key = ?", (key,)).fetchone()
        return None if row is None else float(row[0])

    def scopes(self) -> frozenset[str]:
        """Units that have a result."""
        with self._lock:
            return frozenset(row[0] for row in self._db.execute("SELECT DISTINCT unit_id FROM results"))

    def result_keys(self) -> frozenset[str]:
        """Keys of all indexed results."""
        with self._lock:
            return frozenset(row[0] for row in self._db.execute("SELECT key FROM results"))

    def record_verdict(self, key: str, level: str, *, ok: bool, document: str) -> None:
        """Keep the verdict (a JSON document) of a result at a level."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO verdicts VALUES (?, ?, ?, ?)", (key, level, int(ok), document))

    def verdict(self, key: str, level: str) -> str | None:
        """The JSON document of a verdict, None when that level was not checked yet."""
        with self._lock:
            row = self._db.execute("SELECT document FROM verdicts WHERE key = ? AND level = ?", (key, level)).fetchone()
        return None if row is None else str(row[0])

    def verdicts(self, keys: Sequence[str], level: str) -> dict[str, str]:
        """As ``verdict``, of many at once: documents by key, without those that were not checked."""
        found: dict[str, str] = {}
        for marks, some in asked(keys):
            question = f"SELECT key, document FROM verdicts WHERE level = ? AND key IN ({marks})"  # noqa: S608
            with self._lock:
                found.update(self._db.execute(question, (level, *some)))
        return found

    def verdicts_of(self, key: str) -> tuple[str, ...]:
        """JSON documents of every verdict whose key begins with a result's, in the order they were recorded."""
        with self._lock:
            rows = self._db.execute(
                "SELECT document FROM verdicts WHERE substr(key, 1, ?) = ? ORDER BY rowid", (len(key), key)
            )
            return tuple(str(row[0]) for row in rows)

    def newest_serial(self, scope: str) -> tuple[int, str] | None:
        """The highest serial of a package and what content it stands for ("" where that was removed)."""
        with self._lock:
            return self._newest_serial(scope)

    def newest_serials(self) -> dict[str, tuple[int, str]]:
        """As ``newest_serial``, of every package."""
        with self._lock:
            rows = self._db.execute("SELECT scope, serial, content FROM serials ORDER BY serial")
            return {str(scope): (int(serial), str(content)) for scope, serial, content in rows}

    def set_serial(self, scope: str, serial: int, content: str) -> None:
        """Let a serial stand for a content, whatever it stood for before."""
        with self._transaction() as db:
            db.execute("INSERT OR REPLACE INTO serials VALUES (?, ?, ?)", (scope, serial, content))

    def record_claims(self, store: str, claims: Iterable[tuple[str, tuple[str, int, str]]]) -> None:
        """Remember serials of a shared store: (name there, (scope, serial, content)); they never change."""
        with self._transaction() as db:
            rows = [(store, name, *claim) for name, claim in claims]
            db.executemany("INSERT OR IGNORE INTO claims VALUES (?, ?, ?, ?, ?)", rows)

    def claims(self, store: str) -> dict[str, tuple[str, int, str]]:
        """By name there: (scope, serial, content) of what is known of a shared store's serials."""
        with self._lock:
            rows = self._db.execute("SELECT name, scope, serial, content FROM claims WHERE store = ?", (store,))
            return {row[0]: (row[1], row[2], row[3]) for row in rows}

    def adopt_serial(self, scope: str, serial: int, content: str) -> None:
        """Remember a serial that a result was built with, when the ledger does not know it (it was lost)."""
        with self._transaction() as db:
            db.execute("INSERT OR IGNORE INTO serials VALUES (?, ?, ?)", (scope, serial, content))

    def adopt_removed(self, serials: Mapping[str, int]) -> None:
        """Remember serials of results that were removed, when the ledger does not know them (it was lost).

        Their content is not known any more, so whatever is built next gets a higher one.
        """
        with self._transaction() as db:
            db.executemany("INSERT OR IGNORE INTO serials VALUES (?, ?, '')", serials.items())

    def forget(self, gone: Collection[str], failures_of: Collection[str], retired: Collection[tuple[str, int]]) -> None:
        """Drop rows about results that are gone, by key, and failures of units.

        ``retired`` names the serials (scope, number) that no result holds any more: they stay used, but the same
        content gets a higher one when it comes back, as its bytes may be others.
        """
        with self._transaction() as db:
            db.executemany("DELETE FROM results WHERE key = ?", [(key,) for key in gone])
            db.executemany(
                "DELETE FROM verdicts WHERE substr(key, 1, ?) = ?", [(len(key) + 1, f"{key}+") for key in gone]
            )
            db.executemany("DELETE FROM failures WHERE unit_id = ?", [(unit,) for unit in failures_of])
            db.executemany("UPDATE serials SET content = '' WHERE scope = ? AND serial = ?", list(retired))

    def failures(self) -> tuple[tuple[str, float], ...]:
        """Units with a recorded failure, and when it happened (seconds since the epoch)."""
        with self._lock:
            return tuple(self._db.execute("SELECT unit_id, happened FROM failures ORDER BY unit_id"))

    def _newest_serial(self, scope: str) -> tuple[int, str] | None:
        row = self._db.execute(
            "SELECT serial, content FROM serials WHERE scope = ? ORDER BY serial DESC LIMIT 1", (scope,)
        ).fetchone()
        return None if row is None else (int(row[0]), str(row[1]))
