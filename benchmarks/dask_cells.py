"""2,000 cells that compile nothing, ordered from eight Dask workers and collected, as a run does it."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from builder.pipeline.compilation import Compilation
from builder.pipeline.farm import Farm
from builder.pipeline.workers import run_all
from builder.store import Store
from builder.tools.garbage import look_rarely
from tests.farm.simulated import compilation
from tests.farm.site import cluster, farm, wait_for
from tests.memory import roomy_folder

CELLS = 2000
WORKERS = 8


def _prepare(tmp: Path, stack: ExitStack) -> Sides:
    look_rarely()  # as the program does
    made = stack.enter_context(cluster(tmp, workers=WORKERS))

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        place = stack.enter_context(roomy_folder(folder))
        store = stack.enter_context(Store.open(place / "work"))
        cells = [compilation(tmp / "sources", number) for number in range(CELLS)]
        with farm(made.scheduler_address, place, "farm") as of:
            wait_for(lambda: of.slots() == WORKERS)
            tasks = {what.scope: partial(_compile, of, store, what) for what in cells}
            pids = [nanny.pid for nanny in made.workers.values()]
            used = sum(map(_processors_time, pids))
            with clock.timed():
                done = run_all(tasks, workers=1 + 2 * WORKERS)  # as many as run_jobs
            clock.add(0.0, sum(map(_processors_time, pids)) - used)
        failed = [str(one) for one in done.values() if isinstance(one, Exception)]
        if failed or len(done) != CELLS:
            raise BenchmarkError(f"{len(failed)} of {CELLS} cells failed", details=failed[:3])
        return [f"{what.scope}: {done[what.scope]}" for what in cells]

    return Sides(ours=ours, peer=None)


def _compile(of: Farm, store: Store, what: Compilation) -> str:
    """What ``compile_modules`` does of a cell that is compiled elsewhere; says what came."""
    with of.turn():
        place = store.put_folder("modules", what.key, partial(of.compile_into, what=what))
    return (place / "said").read_text()


def _processors_time(pid: int) -> float:
    """Seconds of processors that a process and its ended children had (proc(5), fields 14 to 17)."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")


DASK_CELLS = Benchmark(
    name="dask-2000-cells",
    work=f"order, do, collect {CELLS:,} cells that compile nothing on {WORKERS} Dask workers",
    peer="none",
    note=(
        "from the first order to the last folder in the store, through a folder that all share; without starting the "
        "cluster; store and shared folder in memory where there is room; divide by "
        f"{CELLS:,} for a cell; processors' time is of run, scheduler and workers together"
    ),
    prepare=_prepare,
    target=Target(seconds=CELLS * 0.010),
)
