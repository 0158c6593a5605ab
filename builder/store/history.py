"""What builds cost and which attempts failed: scheduling learns from them. Losing them is harmless."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import RLock

from builder.store.databases import told

TABLES = """
CREATE TABLE IF NOT EXISTS costs (
    unit_id TEXT NOT NULL, work TEXT NOT NULL, kind TEXT NOT NULL, seconds REAL NOT NULL, memory INTEGER NOT NULL,
    jobs INTEGER NOT NULL, finished REAL NOT NULL, PRIMARY KEY (unit_id, work));
CREATE TABLE IF NOT EXISTS attempts (
    subject TEXT NOT NULL, number INTEGER NOT NULL, stage TEXT NOT NULL, code TEXT NOT NULL, message TEXT NOT NULL,
    wait REAL NOT NULL, happened REAL NOT NULL, PRIMARY KEY (subject, number));
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """What the newest build of a unit took, as it was measured."""

    unit_id: str  # Unit.scope
    work: str  # "whole", or "pack" where its modules had been compiled before
    kind: str  # what units of alike cost have in common
    seconds: float  # wall
    memory: int  # bytes: largest of its processes together; 0: it was too short to be looked at
    jobs: int  # make -j
    finished: float  # seconds since the epoch


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """One attempt that failed for a reason that may pass by itself."""

    subject: str  # unit id, file name or chroot name
    number: int  # 1: the first
    stage: str  # fetch, pin, buildroot, build
    code: str  # RepobuildError.code
    message: str
    wait: float  # seconds until the next one; 0: it was the last
    happened: float  # seconds since the epoch


class History:
    """Rows on the ledger's connection; each write is a transaction of its own."""

    def __init__(self, db: sqlite3.Connection, lock: RLock, path: Path) -> None:
        """``path`` names the ledger where it cannot be written."""
        self._db = db
        self._lock = lock
        self._path = path

    @contextmanager
    def _writing(self) -> Iterator[None]:
        with self._lock, told(self._path, "the ledger cannot be written", "run again: results are kept"):
            yield

    def record_cost(self, cost: Cost) -> None:
        """Remember what a build took; an earlier one of the same unit and work is forgotten."""
        with self._writing():
            self._db.execute(
                "INSERT OR REPLACE INTO costs VALUES (?, ?, ?, ?, ?, ?, ?)",
                (cost.unit_id, cost.work, cost.kind, cost.seconds, cost.memory, cost.jobs, cost.finished),
            )

    def costs(self) -> Mapping[tuple[str, str], Cost]:
        """Every recorded cost by unit and work, oldest first."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM costs ORDER BY finished, unit_id").fetchall()
        found = {}
        for unit_id, work, kind, seconds, memory, jobs, finished in rows:
            found[unit_id, work] = Cost(
                unit_id=unit_id, work=work, kind=kind, seconds=seconds, memory=memory, jobs=jobs, finished=finished
            )
        return found

    def result_seconds(self) -> Mapping[str, float]:
        """What the newest result of each unit took, by unit: known of results whose costs were not measured."""
        with self._lock:
            return dict(self._db.execute("SELECT unit_id, seconds FROM results ORDER BY finished").fetchall())

    def record_attempt(self, attempt: Attempt) -> None:
        """Remember a failed attempt; the first one of a run takes the place of all earlier ones."""
        with self._writing():
            if attempt.number == 1:
                self._db.execute("DELETE FROM attempts WHERE subject = ?", (attempt.subject,))
            self._db.execute(
                "INSERT OR REPLACE INTO attempts VALUES (?, ?, ?, ?, ?, ?, ?)",
                (
                    attempt.subject,
                    attempt.number,
                    attempt.stage,
                    attempt.code,
                    attempt.message,
                    attempt.wait,
                    attempt.happened,
                ),
            )

    def attempts(self, subject: str) -> tuple[Attempt, ...]:
        """The failed attempts of the last run that had any, first to last."""
        with self._lock:
            rows = self._db.execute("SELECT * FROM attempts WHERE subject = ? ORDER BY number", (subject,)).fetchall()
        return tuple(
            Attempt(subject=s, number=n, stage=stage, code=code, message=message, wait=wait, happened=happened)
            for s, n, stage, code, message, wait, happened in rows
        )
