"""Run two ways of doing the same work in turn, A B B A A B …, and compare what they made and how long they took.

Times are never judged: a benchmark fails only when work failed or when both sides' results differ in what they share.
"""

from __future__ import annotations

import os
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
    """Wall time of the part of a run that counts, time of processors (children's too), and memory where it is told."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.cpu = 0.0  # seconds
        self.peak = 0  # bytes; 0: not told

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Add the time spent inside."""
        started, used = time.monotonic(), sum(os.times()[:4])
        try:
            yield
        finally:
            self.seconds += time.monotonic() - started
            self.cpu += sum(os.times()[:4]) - used

    def add(self, seconds: float, cpu: float = 0.0, peak: int = 0) -> None:
        """Add what was measured elsewhere."""
        self.seconds += seconds
        self.cpu += cpu
        self.peak = max(self.peak, peak)


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
class Target:
    """What a benchmark is to stay within; None: nothing is asked."""

    seconds: float | None = None  # the median of repobuild
    ratio: float | None = None  # to the peer
    peak: int | None = None  # bytes of memory


@dataclass(frozen=True, slots=True, kw_only=True)
class Benchmark:
    """One comparison. ``prepare`` makes inputs below a folder; what it enters into the stack is closed at the end."""

    name: str
    work: str  # what is done
    peer: str  # who else does it, "none" where nobody
    note: str  # what is timed on each side and what is not
    prepare: Callable[[Path, ExitStack], Sides]
    runs: int | None = None  # where a run takes so long that fewer must do
    runs_at_least: int = 1  # where both sides are so near to each other that few runs tell only chance
    target: Target = field(default_factory=Target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Times of every run, in order."""

    benchmark: Benchmark
    ours: tuple[float, ...]  # seconds
    peer: tuple[float, ...]  # seconds; empty without a peer
    shared: int  # members that both results had in common in each run
    sizes: Mapping[str, int]  # bytes
    cpu: tuple[float, ...] = ()  # seconds of processors, of each run
    peer_cpu: tuple[float, ...] = ()
    peak: int = 0  # bytes, the highest of all runs of repobuild; 0 where it is not told

    @property
    def cpu_ratio(self) -> float | None:
        """As ``ratio``, of processors' time: what else the machine does matters less to it."""
        pairs = [(a, b) for a, b in zip(self.cpu, self.peer_cpu, strict=False) if a and b]
        return statistics.median(a / b for a, b in pairs) if pairs else None

    def verdicts(self) -> list[tuple[str, float, float, bool]]:
        """What was asked: (what, limit, figure, whether it holds)."""
        target, ours = self.benchmark.target, self.medians[0]
        asked = [("s", target.seconds, ours), ("× peer", target.ratio, self.ratio)]
        asked.append(("MB", target.peak and target.peak / 1e6, self.peak / 1e6 if self.peak else None))
        return [
            (what, limit, figure, figure <= limit)
            for what, limit, figure in asked
            if limit is not None and figure is not None
        ]

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
            "cpu": [round(s, 4) for s in self.cpu],
            "peer_cpu": [round(s, 4) for s in self.peer_cpu],
            "cpu_ratio": None if self.cpu_ratio is None else round(self.cpu_ratio, 4),
            "peak_bytes": self.peak or None,
            "targets": [
                {"unit": what, "at_most": limit, "is": round(figure, 4), "holds": holds}
                for what, limit, figure, holds in self.verdicts()
            ],
            "shared": self.shared,
            "bytes": dict(self.sizes),
        }


def measure(benchmark: Benchmark, tmp: Path, *, runs: int, tell: Callable[[str], None]) -> Result:
    """Prepare, then run both sides in turn; each run has a folder of its own.

    Raises BenchmarkError when results differ or a run made nothing, and whatever failing work raises.
    """
    ours: list[float] = []
    peer: list[float] = []
    cpu: list[float] = []
    peer_cpu: list[float] = []
    peak = 0
    first: frozenset[str] | None = None
    with ExitStack() as stack:
        tell("preparing")
        inputs = tmp / "inputs"
        inputs.mkdir()
        sides = benchmark.prepare(inputs, stack)
        for number in range(1, runs + 1):
            pair = [("repobuild", sides.ours, ours), (benchmark.peer, sides.peer, peer)]
            if number % 2 == 0:  # neither is always the one that comes first
                pair.reverse()
            for who, side, times in pair:
                if side is None:
                    continue
                folder = tmp / f"{number}-{'ours' if times is ours else 'peer'}"
                folder.mkdir()
                clock = Clock()
                made = frozenset(side(folder, clock))
                times.append(clock.seconds)
                (cpu if times is ours else peer_cpu).append(clock.cpu)
                peak = max(peak, clock.peak if times is ours else 0)
                tell(f"run {number} of {runs}: {who} {clock.seconds:.2f} s")
                if not made:
                    raise BenchmarkError(f"{benchmark.name}: {who} made nothing")
                first = first or made
                if made != first:
                    raise BenchmarkError(
                        f"{benchmark.name}: run {number} of {who} made something else than the first of repobuild",
                        details=_difference(first, made),
                    )
    return Result(
        benchmark=benchmark,
        ours=tuple(ours),
        peer=tuple(peer),
        shared=len(first or ()),
        sizes=sides.sizes,
        cpu=tuple(cpu),
        peer_cpu=tuple(peer_cpu),
        peak=peak,
    )


def _difference(first: frozenset[str], other: frozenset[str]) -> list[str]:
    lines = [f"only in the first: {member}" for member in sorted(first - other)[:_SHOWN]]
    lines += [f"only in this one: {member}" for member in sorted(other - first)[:_SHOWN]]
    return [*lines, f"{len(first - other)} and {len(other - first)} differ"]
