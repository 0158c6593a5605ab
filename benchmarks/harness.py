"""Run two ways of doing the same work in turn, A B A B …, and compare what they made and how long they took.

Times are never judged: a benchmark fails only when work failed or when both sides' results differ in what they share.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import RepobuildError

_SHOWN = 5  # members of a difference that are named


class BenchmarkError(RepobuildError):
    """Work was not done as it should have been, or the two results differ."""

    code = "benchmark"


class Clock:
    """Wall time of the part of a run that counts."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time spent inside."""
        started = time.monotonic()
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started

    def add(self, seconds: float) -> None:
        """Add a time that was measured elsewhere."""
        self.seconds += seconds


# Does the work once in a fresh folder, timing what counts; returns what both sides' results must have in common.
Side = Callable[[Path, Clock], Collection[str]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """Both ways, ready to run."""

    ours: Side
    peer: Side | None  # None: there is nothing to compare with
    sizes: Mapping[str, int] = field(
        default_factory=dict
    )  # what was made or is worked on: bytes, told beside the times


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One comparison. ``prepare`` makes inputs below a folder; what it enters into the stack is closed at the end."""

    name: str
    work: str  # what is done
    peer: str  # who else does it, "none" where nobody
    note: str  # what is timed on each side and what is not
    prepare: Callable[[Path, ExitStack], Sides]
    runs: int | None = None  # where a run takes so long that fewer must do


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times of every run, in order."""

    benchmark: Benchmark
    ours: tuple[float, ...]  # seconds
    peer: tuple[float, ...]  # seconds; empty without a peer
    shared: int  # members that both results had in common in each run
    sizes: Mapping[str, int]  # bytes

    @property
    def ratio(self) -> float | None:
        """Median of ours / peer, pair by pair: what disturbs the machine for a while disturbs both of a pair."""
        return statistics.median(a / b for a, b in zip(self.ours, self.peer, strict=True)) if self.peer else None

    @property
    def medians(self) -> tuple[float, float | None]:
        """Of ours and of the peer, in seconds."""
        return statistics.median(self.ours), statistics.median(self.peer) if self.peer else None

    def document(self) -> dict[str, object]:
        """As JSON."""
        ours, peer = self.medians
        return {
            "name": self.benchmark.name,
            "work": self.benchmark.work,
            "peer": self.benchmark.peer,
            "note": self.benchmark.note,
            "seconds": [round(s, 4) for s in self.ours],
            "peer_seconds": [round(s, 4) for s in self.peer],
            "median": round(ours, 4),
            "peer_median": None if peer is None else round(peer, 4),
            "ratio": None if self.ratio is None else round(self.ratio, 4),
            "shared": self.shared,
            "bytes": dict(self.sizes),
        }


def measure(benchmark: Benchmark, tmp: Path, *, runs: int, tell: Callable[[str], None]) -> Result:
    """Prepare, then run both sides in turn; each run has a folder of its own.

    Raises BenchmarkError when results differ or a run made nothing, and whatever failing work raises.
    """
    ours: list[float] = []
    peer: list[float] = []
    first: frozenset[str] | None = None
    with ExitStack() as stack:
        tell("preparing")
        inputs = tmp / "inputs"
        inputs.mkdir()
        sides = benchmark.prepare(inputs, stack)
        for number in range(1, runs + 1):
            for who, side, times in (("repobuild", sides.ours, ours), (benchmark.peer, sides.peer, peer)):
                if side is None:
                    continue
                folder = tmp / f"{number}-{'ours' if times is ours else 'peer'}"
                folder.mkdir()
                clock = Clock()
                made = frozenset(side(folder, clock))
                times.append(clock.seconds)
                tell(f"run {number} of {runs}: {who} {clock.seconds:.2f} s")
                if not made:
                    raise BenchmarkError(f"{benchmark.name}: {who} made nothing")
                first = first or made
                if made != first:
                    raise BenchmarkError(
                        f"{benchmark.name}: run {number} of {who} made something else than the first of repobuild",
                        details=_difference(first, made),
                    )
    return Result(benchmark=benchmark, ours=tuple(ours), peer=tuple(peer), shared=len(first or ()), sizes=sides.sizes)


def _difference(first: frozenset[str], other: frozenset[str]) -> list[str]:
    lines = [f"only in the first: {member}" for member in sorted(first - other)[:_SHOWN]]
    lines += [f"only in this one: {member}" for member in sorted(other - first)[:_SHOWN]]
    return [*lines, f"{len(first - other)} and {len(other - first)} differ"]
