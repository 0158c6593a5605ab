"""What builds are expected to cost, in which order they start, and whether there is room for them.

The ledger's measurements decide; what was never built is guessed (docs/operations.md tells the guesses).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from builder.errors import DiskFullError
from builder.model.cells import PackageKind, Unit
from builder.model.sources import DriverSources
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job
from builder.pipeline.workers import Expected
from builder.pipeline.workshop import Workshop, source_id
from builder.store import Cost
from builder.tools.machine import free_space, make_jobs

WHOLE, PACK = "whole", "pack"

# First guesses: full NVIDIA cells on two busy processors, rounded up.
_SECONDS = {WHOLE: 600.0, PACK: 60.0}  # of a cell
_PACKAGE_SECONDS = 60.0  # of a package around a driver
_MEMORY = 512 << 20  # bytes of a package's build, and of each process of a make -j

# Room on the work folder's filesystem.
_SPARE = 1 << 30  # bytes: ledger, logs, results
_BUILD = 1 << 30  # bytes of one build on the disk
_ROOT = 1 << 30  # bytes of a base root
_UNPACKED = 8  # times a source's size: fetched, unpacked, sorted, packed again


def kind_of(unit: Unit) -> str:
    """What units of alike cost have in common."""
    return unit.kind.value + (unit.flavor.suffix if unit.flavor else "")


def work_of(shop: Workshop, job: Job) -> str:
    """How much of a job there is to do: all of it, or only packing what was compiled before."""
    compiled = job.modules is not None and shop.store.folder("modules", job.modules.key) is not None
    return PACK if compiled else WHOLE


@dataclass(frozen=True, slots=True, kw_only=True)
class Records:
    """What the ledger knows of costs."""

    costs: Mapping[tuple[str, str], Cost]  # by Unit.scope and work
    seconds: Mapping[str, float]  # of the newest result, by Unit.scope

    def seconds_of(self, unit: Unit, work: str) -> float | None:
        """Of the unit's own former build, else the middle of those of its kind; None where there were none."""
        own = self.costs.get((unit.scope, work))
        if own is not None:
            return own.seconds
        if work == WHOLE and unit.scope in self.seconds:
            return self.seconds[unit.scope]
        alike = [c.seconds for c in self._alike(unit, work)]
        return median(alike) if alike else None

    def memory_of(self, unit: Unit, work: str, jobs: int) -> int | None:
        """As above, the largest of its kind, and more where more processes will run than when it was measured."""
        own = self.costs.get((unit.scope, work))
        measured = [own] if own is not None else self._alike(unit, work)
        wider = jobs if unit.kind is PackageKind.KMOD and work == WHOLE else 1  # the rest has no make -j to speak of
        return max((int(c.memory * max(1.0, wider / c.jobs)) for c in measured if c.jobs and c.memory), default=None)

    def _alike(self, unit: Unit, work: str) -> list[Cost]:
        kind = kind_of(unit)
        return [c for c in self.costs.values() if (c.kind, c.work) == (kind, work)]


def expect(shop: Workshop, jobs: Mapping[str, Job]) -> dict[str, Expected]:
    """What each job is expected to cost and may cost, by unit id, in the order in which they should be started.

    Longest first; but before all others one cell of each kernel: what the compiler says of the kernel is asked for that
    one and remembered for those after it, while two at a time would both ask.
    """
    if not jobs:
        return {}
    history = shop.store.ledger.history
    records = Records(costs=history.costs(), seconds=history.result_seconds())
    parallel = make_jobs(min(shop.settings.workers, len(jobs)))
    found, asking = {}, set()
    for unit_id, job in jobs.items():
        work = work_of(shop, job)
        if work == WHOLE:
            asking.add(unit_id)
        seconds = records.seconds_of(job.unit, work)
        memory = records.memory_of(job.unit, work, parallel)
        found[unit_id] = Expected(
            seconds=_guessed_seconds(job.unit, work) if seconds is None else seconds,
            memory=_guessed_memory(job.unit, work, parallel) if memory is None else memory,
            limit=time_limit(shop),
        )
    longest = sorted(found, key=lambda unit_id: -(found[unit_id].seconds or 0.0))
    firsts: dict[str, str] = {}
    for unit_id in longest:
        devel = jobs[unit_id].devel
        if unit_id in asking and devel is not None:
            firsts.setdefault(devel.sha256, unit_id)
    return {unit_id: found[unit_id] for unit_id in (*firsts.values(), *longest)}


def time_limit(shop: Workshop) -> float:
    """Seconds that a cell or package may take: as asked for, else as the matrix says."""
    asked, written = shop.settings.cell_timeout, shop.configuration.matrix.cell_timeout
    return asked if asked is not None else written


def _guessed_seconds(unit: Unit, work: str) -> float:
    return _SECONDS[work] if unit.kind is PackageKind.KMOD else _PACKAGE_SECONDS


def _guessed_memory(unit: Unit, work: str, parallel: int) -> int:
    return first_guess_of_memory(parallel) if unit.kind is PackageKind.KMOD and work == WHOLE else _MEMORY


def first_guess_of_memory(parallel: int) -> int:
    """Bytes that a cell of unknown need is thought to take with so many compilers at a time."""
    return _MEMORY * (parallel + 1)


def require_space_to_fetch(shop: Workshop, units: Sequence[Unit]) -> None:
    """Raise DiskFullError where these units need sources or base roots, and have no room for them and their builds."""
    sources: dict[str, int] = {}
    roots: set[str] = set()
    for unit in units:
        if not isinstance(shop.facts.sources.get(source_id(unit)), DriverSources):
            source = unit.driver.run_source(unit.arch)
            pin = shop.configuration.lock.pin(source.url)
            sources[source.filename] = pin.size if pin else 0
        if shop.chroot(unit).name not in shop.facts.buildroots:
            roots.add(shop.chroot(unit).name)
    if sources or roots:
        at_once = min(shop.settings.workers, len(units))
        _require(shop, room(shop.settings, builds=at_once, roots=len(roots), sources=sum(sources.values())))


def require_space_to_build(shop: Workshop, builds: int) -> None:
    """Raise DiskFullError where there is no room for so many builds."""
    if builds:
        _require(shop, room(shop.settings, builds=min(shop.settings.workers, builds)))


def room(settings: Settings, *, builds: int, roots: int = 0, sources: int = 0) -> list[tuple[str, int]]:
    """What a run needs on the work folder's filesystem: for what, bytes.

    ``builds`` at the same time, ``roots`` to be made, ``sources``: bytes to be fetched.
    """
    if settings.min_free is not None:
        return [("asked for (--min-free)", settings.min_free << 30)]
    parts = [
        ("to spare", _SPARE),
        ("for sources to fetch, unpack and sort", _UNPACKED * sources),
        (f"for {roots} base root{'s' if roots != 1 else ''}", _ROOT * roots),
        (f"for {builds} build{'s' if builds != 1 else ''} at the same time", _BUILD * builds),
    ]
    return [(what, size) for what, size in parts if size]


def _require(shop: Workshop, parts: Sequence[tuple[str, int]]) -> None:
    need, free = sum(size for _, size in parts), free_space(shop.store.work)
    if free < need:
        raise DiskFullError(
            f"{shop.store.work}: {gib(free)} are free, this run needs {gib(need)}: nothing was started",
            details=[f"{gib(size)} {what}" for what, size in parts],
            hint="free space, run fewer builds at once (--jobs), or say what is enough (--min-free GIB)",
        )


def gib(size: int) -> str:
    """A size for people."""
    return f"{size / (1 << 30):.1f} GiB" if size >= 1 << 29 else f"{-(-size >> 20)} MiB"
