"""A cluster of simulated workers in processes of their own, and what a run has of it.

``python -m tests.farm.site SCHEDULER FOLDER COUNT WORDS…`` is a run: it has COUNT cells compiled through the worker
pool and ends as the program does (130 after Ctrl-C).
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import dask
from distributed import Client, LocalCluster

from builder.errors import RepobuildError
from builder.pipeline.farm import Farm, Recipe
from builder.pipeline.open_farm import QUIET
from builder.pipeline.orders import Reply
from builder.pipeline.workers import Expected, run_all
from builder.store import SharedStore, Store, open_place
from tests.farm.simulated import RECIPE, compilation

PRELOAD = "tests.farm.simulated"
PATIENCE = 60.0  # seconds for anything that must happen


def wait_for(what: Callable[[], Any]) -> Any:
    """Wait until something is true, and say so where it never is."""
    until = time.monotonic() + PATIENCE
    while not (found := what()):
        assert time.monotonic() < until, "it did not happen"
        time.sleep(0.05)
    return found


def once(_stage: str, _subject: str, action: Callable[[], Reply]) -> Reply:
    return action()


@contextmanager
def cluster(folder: Path, *, workers: int = 2, preload: bool = True, **more: Any) -> Iterator[LocalCluster]:
    """Simulated workers, one build each, restarted when they die; a cell may kill one worker, not two."""
    os.environ["REPOBUILD_WORKER"] = str(folder / "workers")
    ours = {"preload": [PRELOAD]} if preload else {}
    options = {"processes": True, "dashboard_address": None, "memory_limit": 0, "silence_logs": 60}
    with (
        dask.config.set({"distributed.scheduler.allowed-failures": 1, **QUIET}),
        LocalCluster(
            n_workers=workers, threads_per_worker=1, local_directory=str(folder), **{**options, **ours, **more}
        ) as made,
    ):
        yield made


def exchange_in(folder: Path) -> SharedStore:
    """What the files of runs in a folder travel through."""
    (folder / "exchange").mkdir(parents=True, exist_ok=True)
    url = (folder / "exchange").as_uri()
    exchange = SharedStore(open_place(url), url, print, required=True)
    exchange.connect(make=True)
    return exchange


@contextmanager
def farm(
    address: str,
    folder: Path,
    name: str,
    *,
    patience: float = PATIENCE,
    turns: int = 8,
    exchange: SharedStore | None = None,
) -> Iterator[Farm]:
    """A run's farm, with a store of its own; runs in one folder share what they exchange."""
    exchange = exchange or exchange_in(folder)
    client = Client(address, set_as_default=False, timeout=PATIENCE)
    recipe = Recipe(builder="host", recipe=RECIPE, mock_config=lambda _what: "")
    with Store.open(folder / name) as store:
        made = Farm(client, exchange, store, recipe, once, patience=patience, turns=turns, close=lambda: None)
        try:
            yield made
        finally:
            made.close()


def compile_one(of: Farm, folder: Path, number: int, words: str = "make", **more: Any) -> Path:
    """Have one cell compiled, as a task does; returns the folder of its modules."""
    target = folder / f"modules-{number}"
    target.mkdir(parents=True, exist_ok=True)
    with of.turn():
        of.compile_into(target, compilation(folder / "sources", number, words, **more))
    return target


def main(address: str, folder: Path, count: int, words: str) -> int:
    """A run."""
    with farm(address, folder, "run") as of:
        tasks = {f"cell {n}": partial(compile_one, of, folder / "run-modules", n, words) for n in range(count)}
        of.await_workers()
        try:
            seconds = float(os.environ.get("EXPECTED", "1"))
            done = run_all(
                tasks,
                workers=count,
                say=partial(print, flush=True),
                expected={name: Expected(seconds=seconds) for name in tasks},
            )
        except KeyboardInterrupt:
            return 130
        except RepobuildError as exc:
            print(exc.code, exc.message, flush=True)
            return exc.exit_code
    return sum(isinstance(one, RepobuildError) for one in done.values())


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background job ignores it
    sys.exit(main(sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), " ".join(sys.argv[4:])))
