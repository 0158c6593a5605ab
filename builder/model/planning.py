"""What ``plan`` is told about the world, and what it says of streams."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.cells import BuildResult, Cell, Unit, Verdict
from builder.model.matrix import Driver, Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitState:
    """What the store and the sources say of a unit before anything is done.

    ``key`` is None while something that determines it is not known yet; ``missing`` says what.
    """

    unit: Unit
    key: str | None = None
    stored: bool = False  # a whole result of that key is in the store
    earlier: bool = False  # a result of another key of this unit is in the store
    missing: str | None = None  # what keeps the key unknown though a build can find it out
    blocked: str | None = None  # what keeps the unit from being built at all
    hint: str | None = None  # the command that unblocks it
    selected: bool = True  # by --select/--skip
    last_failure: str | None = None  # one line of the newest failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Excluded:
    """A cell that a rule of the matrix takes out."""

    cell: Cell
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class UnitOutcome:
    """Where a unit stands after building and qualifying."""

    unit: Unit
    result: BuildResult | None  # None: not built
    verdict: Verdict | None
    reason: str  # why it is not there, or "built", "reused", "kept: …"
    code: str | None = None  # stable code of the failure that kept it from being built

    @property
    def ok(self) -> bool:
        """Built and qualified."""
        return self.result is not None and self.verdict is not None and self.verdict.ok

    @property
    def ok_so_far(self) -> bool:
        """Built, and not failed in qualification (which may not have been asked for)."""
        return self.result is not None and (self.verdict is None or self.verdict.ok)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamPlan:
    """The drivers that a stream of one distribution × arch carries, or why it is held back."""

    stream: Stream
    drivers: tuple[Driver, ...]  # oldest first; empty: the stream is held back
    held: tuple[tuple[str, str], ...]  # (driver version, reason) of the drivers left out
