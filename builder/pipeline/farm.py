"""Compiling on other machines: Dask decides which worker takes a cell, the shared store carries the files.

Only compilations go there. Fetching, planning, packing, signing, checking and publishing stay on the machine that was
asked, as do all keys (docs/adr/0030-dask.md).
"""

from __future__ import annotations

import shutil
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from builder.errors import BuildError, InterruptedRunError, SchedulerLostError, WorkersError
from builder.pipeline.compilation import Compilation
from builder.pipeline.farm_mail import Mail
from builder.pipeline.orders import (
    Order,
    Reply,
    describe,
    error_of,
    fill_workset,
    identity,
    make_order,
    resources_of,
    workset_key,
)
from builder.pipeline.workers import Expected, current_slot
from builder.store import SharedStore, Store
from builder.tools.run import check_stopped, pause

if TYPE_CHECKING:  # an extra
    from distributed import Client, Future

_POLL = 0.25  # seconds between two looks at whether a task is to stop
_FRESH = 2.0  # seconds that what is known of the workers is good for


class Retry(Protocol):
    """Does something, and again where its failure may pass by itself: stage, subject, what."""

    def __call__(self, stage: str, subject: str, action: Callable[[], Reply], /) -> Reply:
        """Return what it returns."""


class Turns:
    """How many tasks work on this machine at a time, whatever waits for workers elsewhere."""

    def __init__(self, count: int) -> None:
        self._free = threading.BoundedSemaphore(count)

    @contextmanager
    def taken(self) -> Iterator[None]:
        """Work here. Raises InterruptedRunError where the task is stopped while it waits."""
        self._take()
        try:
            yield
        finally:
            self._free.release()

    @contextmanager
    def given_back(self) -> Iterator[None]:
        """Let others work here meanwhile; within ``taken`` only."""
        self._free.release()
        try:
            yield
        finally:
            self._free.acquire()  # soon: those who have it work, and a stop ends them

    def _take(self) -> None:
        while not self._free.acquire(timeout=_POLL):
            check_stopped("its turn did not come")


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How the run builds: what workers must do likewise."""

    builder: str
    recipe: str
    mock_config: Callable[[Compilation], str]


class Farm:
    """Dask workers as a run sees them. Methods may be called by any thread."""

    def __init__(
        self,
        client: Client,
        exchange: SharedStore,
        store: Store,
        recipe: Recipe,
        retry: Retry,
        *,
        patience: float,
        turns: int,
        close: Callable[[], None],
    ) -> None:
        """``exchange``: what files travel through; ``patience``: seconds that a cell waits for a fitting worker."""
        self._client = client
        self._exchange = exchange
        self._store = store
        self._recipe = recipe
        self._retry = retry
        self._patience = patience
        self._close = close
        self._turns = Turns(turns)
        self._expected: Mapping[str, Expected] = {}
        self._attempts: Counter[str] = Counter()
        self._lock = threading.Lock()
        self._worksets: dict[str, threading.Lock] = {}
        self._given: set[str] = set()
        self._workers: dict[str, dict[str, float]] = {}  # resources by address
        self._looking = threading.Lock()
        self._looked = float("-inf")
        self._mail = Mail(client, exchange.identity)

    def close(self) -> None:
        """Let the workers go; what they do for this run is stopped."""
        self._mail.close()
        with suppress(Exception):  # a cluster that is gone already
            self._client.close(timeout=2)
        with suppress(Exception):
            self._close()

    def turn(self) -> AbstractContextManager[None]:
        """Within it a task works on this machine; waiting for a worker does not count."""
        return self._turns.taken()

    def expect(self, expected: Mapping[str, Expected]) -> None:
        """What compilations are thought to cost and may cost, by unit id."""
        self._expected = expected

    def slots(self) -> int:
        """Compilations that our workers do at the same time."""
        return sum(int(r[_ours()]) for r in self._look().values() if _ours() in r)

    def refuse_other_programs(self) -> None:
        """Raise WorkersError where a worker runs another repobuild than this."""
        known = self._look(fresh=True)
        programs = {a: [n for n in r if n.startswith("repobuild ")] for a, r in known.items()}
        others = [f"{address}: {', '.join(p)}" for address, p in sorted(programs.items()) if p and p != [_ours()]]
        if others:
            raise WorkersError(
                f"{len(others)} of {len(known)} workers run another repobuild than this one, {identity()}",
                details=others,
                hint="install the same on every machine and start the workers again",
            )

    def await_workers(self) -> int:
        """How many compilations our workers do at the same time; raises WorkersError where none comes in time."""
        until = time.monotonic() + self._patience
        while not (slots := self.slots()):
            if time.monotonic() > until:
                raise WorkersError(
                    f"no worker for repobuild came within {self._patience:g} s "
                    f"({len(self._look())} of other kinds are there)",
                    hint="dask worker ADDRESS --preload builder.pipeline.farm_worker; --worker-wait waits longer",
                )
            pause(_POLL)
        return slots

    def compile_into(self, folder: Path, what: Compilation) -> None:
        """Have the modules of a cell compiled and fill ``folder`` with them.

        Raises what the builder raised there; WorkersError where no worker can, SchedulerLostError.
        """
        unit_id = what.build.unit_id
        started = time.monotonic()
        reply = self._retry("build", unit_id, partial(self._attempt, what))
        slot = current_slot()
        if slot is not None:
            slot.jobs, slot.supervision.peak = reply.jobs, reply.memory
            slot.where = reply.worker
            slot.waited = max(0.0, time.monotonic() - started - reply.seconds)
        if not self._exchange.take("modules", what.key, folder, anew=True):
            raise WorkersError(
                f"{unit_id}: {reply.worker} says that it compiled it, but its modules are not in {self._exchange.url}",
                hint="all workers must reach the store of --store under the same URL",
            )

    def _attempt(self, what: Compilation) -> Reply:
        """Order it once; raises what went wrong there."""
        unit_id = what.build.unit_id
        with self._lock:
            self._attempts[what.key] += 1
            tag = f"{what.key}-{self._attempts[what.key]}"
        order = make_order(
            what,
            recipe=self._recipe.recipe,
            name=self._recipe.builder,
            mock_config=self._recipe.mock_config(what),
            store=self._exchange.url,
            tag=tag,
        )
        expected = self._expected.get(unit_id)
        order = replace(order, limit=expected.limit if expected else None)
        self._give_workset(what)
        reply = self._send(order, expected.memory if expected else 0)
        if reply.failed is not None:
            raise error_of(reply.failed, self._take_logs(unit_id, tag))
        return reply

    def _send(self, order: Order, memory: int) -> Reply:
        unit_id = order.what.build.unit_id
        resources = self._fitting(order, memory)
        # One key for one content and store: of two runs that order it at once both get the one result.
        key = f"repobuild-{order.tag}-{self._exchange.identity}"
        try:
            future = self._mail.order(order, key, resources)
        except Exception as exc:
            self._mail.forget(key)
            raise _lost(exc) from exc
        ended = threading.Event()
        future.add_done_callback(lambda _future: ended.set())
        try:
            with self._turns.given_back():
                self._wait(unit_id, ended, resources)
            return _result(unit_id, future, self._mail.reply(key))
        finally:
            self._mail.forget(key)
            if not future.done():
                with suppress(Exception):  # whatever is wrong with the cluster was told
                    future.cancel()
            future.release()

    def _wait(self, unit_id: str, ended: threading.Event, resources: dict[str, float]) -> None:
        alone = None  # since when no worker fits
        while not ended.wait(_POLL):
            check_stopped(f"{unit_id}: not compiled to its end")
            if self._fits(resources):
                alone = None
                continue
            alone = alone or time.monotonic()
            if time.monotonic() - alone > self._patience:
                raise self._nobody(unit_id, resources)

    def _fitting(self, order: Order, memory: int) -> dict[str, float]:
        """What the order needs; no more memory than the largest fitting worker has: there it runs alone."""
        resources = resources_of(order, memory)
        small = {**resources, "memory": 0.0}
        largest = max((r["memory"] for r in self._look().values() if _can(r, small)), default=None)
        return resources if largest is None else {**resources, "memory": min(resources["memory"], largest)}

    def _fits(self, resources: dict[str, float]) -> bool:
        return any(_can(worker, resources) for worker in self._look().values())

    def _look(self, *, fresh: bool = False) -> dict[str, dict[str, float]]:
        """Resources of the workers there are, by address; asked for now and then. Raises SchedulerLostError.

        While one thread asks a busy scheduler the others go by what is known.
        """
        if not fresh and time.monotonic() - self._looked < _FRESH:
            return self._workers
        if not self._looking.acquire(blocking=fresh or not self._workers):
            return self._workers
        try:
            found = self._client.scheduler_info(n_workers=-1)["workers"]
            self._workers = {address: dict(one["resources"]) for address, one in found.items()}
            self._looked = time.monotonic()
        except Exception as exc:
            raise _lost(exc) from exc
        finally:
            self._looking.release()
        return self._workers

    def _nobody(self, unit_id: str, resources: dict[str, float]) -> WorkersError:
        there = [f"{address}: {describe(r)}" for address, r in sorted(self._look().items())]
        return WorkersError(
            f"{unit_id}: no worker can take it; it needs {describe(resources)}",
            details=there or ["there is no worker at all"],
            hint=f"start a worker that can; it was waited for {self._patience:g} s (--worker-wait)",
        )

    def _give_workset(self, what: Compilation) -> None:
        """Put the files that a compilation is made from into the store, once for all cells that share them."""
        key = workset_key(what)
        with self._lock:
            mine = self._worksets.setdefault(key, threading.Lock())
        with mine:
            if key in self._given:
                return
            if not self._exchange.has("worksets", key):
                with self._store.tmp() as tmp:
                    fill_workset(what, tmp)
                    self._exchange.give("worksets", key, tmp)
            if not self._exchange.has("worksets", key):
                raise WorkersError(f"{what.build.unit_id}: its sources cannot be put into {self._exchange.url}")
            self._given.add(key)

    def _take_logs(self, unit_id: str, tag: str) -> Path | None:
        """The logs of a failure, kept as those of a build on this machine are."""
        logs = self._store.logs(unit_id)
        with self._store.tmp() as tmp:
            new = tmp / "logs"
            new.mkdir()
            if not self._exchange.take("failures", tag, new):
                return None
            shutil.rmtree(logs, ignore_errors=True)
            logs.parent.mkdir(parents=True, exist_ok=True)
            new.rename(logs)
        return logs


def _ours() -> str:
    return f"repobuild {identity()}"


def _can(worker: Mapping[str, float], resources: Mapping[str, float]) -> bool:
    return all(worker.get(name, 0.0) >= amount for name, amount in resources.items())


def _lost(exc: BaseException) -> SchedulerLostError:
    return SchedulerLostError(
        f"the connection to Dask's scheduler was lost: {str(exc) or type(exc).__name__}",
        hint="what was finished is kept; run the same command again when there is a scheduler",
    )


def _result(unit_id: str, future: Future[Reply], heard: Reply | None) -> Reply:
    """What a future that has ended holds, or was heard of it already: asking costs more than the whole order.

    Raises BuildError, WorkersError, SchedulerLostError.
    """
    from distributed import KilledWorker  # noqa: PLC0415  an extra

    if future.status == "finished":
        if heard is not None:
            return heard
        try:
            reply = future.result()
        except Exception as exc:
            raise _lost(exc) from exc
        if isinstance(reply, Reply):
            return reply
        raise WorkersError(f"{unit_id}: a worker answered with a {type(reply).__name__}")
    if future.status == "error":
        error = future.exception()
        if isinstance(error, KilledWorker):
            raise BuildError(
                f"{unit_id}: every worker that took it died of it, the last was {error.last_worker.address}",
                hint="look at that machine: memory (dmesg), the worker's own log",
            )
        raise WorkersError(f"{unit_id}: a worker failed: {type(error).__name__}: {error}")
    if future.status == "cancelled":
        raise SchedulerLostError(
            f"{unit_id}: Dask's scheduler cancelled it, or was lost",
            hint="what was finished is kept; run the same command again when there is a scheduler",
        )
    raise InterruptedRunError(f"{unit_id}: not compiled to its end")
