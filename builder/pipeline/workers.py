"""The local worker pool: so many tasks at a time, as many as memory allows, the processors shared fairly.

One failing task never harms another; a full disk stops the rest cleanly. Ctrl-C once starts nothing new and waits for
what is nearly done, twice stops everything now (docs/adr/0024-scheduling.md).
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Hashable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from builder.errors import DiskFullError, InterruptedRunError, RepobuildError, SchedulerLostError
from builder.pipeline.ctrl_c import CtrlC
from builder.tools.machine import available_memory, make_jobs
from builder.tools.run import Terminated, cancel_all, stop
from builder.tools.supervise import Supervision, supervised

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")

CHEAP = 60.0  # seconds: what is expected to be done within them is waited for after Ctrl-C
_POLL = 0.2  # seconds between two looks for Ctrl-C
_FATAL = (DiskFullError, InterruptedRunError, SchedulerLostError)  # of the run, not of a task


@dataclass(frozen=True, slots=True, kw_only=True)
class Expected:
    """What a task is thought to cost, and what it may cost."""

    seconds: float | None = None  # wall; None: nobody knows
    memory: int = 0  # bytes of its processes together
    limit: float | None = None  # seconds after which it is stopped


_NOTHING = Expected()


@dataclass(slots=True, kw_only=True)
class Slot:
    """The place of a running task in its pool."""

    supervision: Supervision
    neighbours: Callable[[], int]  # tasks that share the machine with this one, itself included
    jobs: int = 0  # make -j of its newest build
    waited: float = 0.0  # seconds that it waited for others to have time for it
    where: str = ""  # who compiled for it, elsewhere

    def make_jobs(self) -> int:
        """The ``make -j`` that is this task's by now: all processors for a lone one, a share of them beside others."""
        return make_jobs(self.neighbours())


_slot: ContextVar[Slot | None] = ContextVar("slot", default=None)


def current_slot() -> Slot | None:
    """The slot of the task that calls, None outside of a pool."""
    return _slot.get()


def quiet(_text: str) -> None:
    """Says nothing."""


@dataclass(slots=True, kw_only=True)
class _Pool(Generic[K, T]):
    """The state of one ``run_all``; only the thread that called it changes anything."""

    queue: deque[tuple[K, Callable[[], T]]]
    expected: Mapping[K, Expected]
    workers: int
    memory: int  # bytes for all tasks together
    say: Callable[[str], None]
    running: dict[Future[T], tuple[K, Supervision]] = field(default_factory=dict)
    outcomes: dict[K, T | RepobuildError] = field(default_factory=dict)
    fatal: BaseException | None = None
    told: set[K] = field(default_factory=set)  # tasks whose need of memory was told
    left: int = 0  # tasks that have not ended; the threads read it, so it is never in between
    alone: bool = False  # what runs does not fit into memory

    def cost(self, name: K) -> Expected:
        return self.expected.get(name, _NOTHING)

    def neighbours(self) -> int:
        """Tasks that run, and those about to join them; one that does not fit into memory stays alone."""
        return 1 if self.alone else max(1, min(self.workers, self.left))

    def fill(self, threads: ThreadPoolExecutor) -> None:
        """Start what may start, strictly in order: nothing overtakes a task that waits for memory, so none starves."""
        while self.queue and len(self.running) < self.workers and self._fits(self.queue[0][0]):
            name, task = self.queue.popleft()
            supervision = Supervision(limit=self.cost(name).limit)
            slot = Slot(supervision=supervision, neighbours=self.neighbours)
            future = threads.submit(_supervise, slot, task)
            self.running[future] = (name, supervision)

    def _fits(self, name: K) -> bool:
        need = self.cost(name).memory
        used = sum(self.cost(other).memory for other, _ in self.running.values())
        if used + need <= self.memory:
            return True
        if self.running:
            if not self.alone and name not in self.told:
                self.told.add(name)
                self.say(f"{name}: waits for memory: it is expected to need {_gib(need)}")
            return False
        self.alone = True
        text = f"is expected to need {_gib(need)} of memory and {_gib(self.memory)} are available: it runs alone"
        self.say(f"{name}: {text}")
        return True

    def take(self, future: Future[T], *, fail_fast: bool, stopping: bool) -> None:
        """Take what a task ended with."""
        name, supervision = self.running.pop(future)
        self.left -= 1
        self.alone = self.alone and bool(self.running)
        error = future.exception()
        if isinstance(error, InterruptedRunError) and stopping and supervision.stopped.is_set():
            return  # stopped on purpose: says nothing of the task
        if isinstance(error, _FATAL) or not isinstance(error, RepobuildError | None):
            self.fatal = self.fatal or error
        elif error is not None:
            self.outcomes[name] = error
            if fail_fast:
                self._start_nothing_more()
        else:
            self.outcomes[name] = future.result()

    def _start_nothing_more(self) -> None:
        self.left -= len(self.queue)
        self.queue.clear()

    def drain(self) -> None:
        """Start nothing more, stop what would take long, and say what is waited for."""
        self._start_nothing_more()
        waited = []
        for name, supervision in self.running.values():
            seconds = self.cost(name).seconds
            left = None if seconds is None else seconds - supervision.elapsed
            if left is None or not -CHEAP < left <= CHEAP:
                stop(supervision)
            else:
                waited.append(f"{name} (about {max(1, round(left))} s more)")
        what = f"waiting for {', '.join(waited)}; Ctrl-C again stops at once" if waited else "nothing is nearly done"
        self.say(f"Ctrl-C: nothing new is started, {what}")


def run_all(
    tasks: Mapping[K, Callable[[], T]],
    *,
    workers: int,
    fail_fast: bool = False,
    expected: Mapping[K, Expected] | None = None,
    memory: int | None = None,
    say: Callable[[str], None] = quiet,
) -> dict[K, T | RepobuildError]:
    """Run tasks in the order given, at most ``workers`` at a time and no more than fit into ``memory``.

    ``memory``: bytes for all together, None: what is available now. A task that is expected to need more than there is
    runs alone. Returns each task's value, or the RepobuildError it raised; tasks that a stop kept from starting are
    missing. Raises DiskFullError or InterruptedRunError after the running tasks have ended; any other exception is a
    bug and is passed on the same way. KeyboardInterrupt is raised when Ctrl-C was heard, at the end of what was waited
    for.
    """
    pool: _Pool[K, T] = _Pool(
        queue=deque(tasks.items()),
        left=len(tasks),
        expected=expected or {},
        workers=workers,
        memory=available_memory() if memory is None else memory,
        say=say,
    )
    with CtrlC() as ctrl_c, ThreadPoolExecutor(max_workers=workers) as threads:
        drained = False
        try:
            while (pool.queue and pool.fatal is None) or pool.running:
                if pool.fatal is None:
                    pool.fill(threads)
                finished, _ = wait(pool.running, timeout=_POLL, return_when=FIRST_COMPLETED)
                for future in finished:
                    pool.take(future, fail_fast=fail_fast, stopping=drained)
                if ctrl_c.heard and not drained:
                    drained = True
                    pool.drain()
                if ctrl_c.heard > 1:
                    raise Terminated  # the same way as SIGTERM
        except KeyboardInterrupt:
            cancel_all()
            raise
        if ctrl_c.heard:
            raise KeyboardInterrupt
    if pool.fatal is not None:
        raise pool.fatal
    return pool.outcomes


@contextmanager
def in_slot(slot: Slot) -> Iterator[Slot]:
    """What the block does is the task of this slot."""
    token = _slot.set(slot)
    try:
        with supervised(slot.supervision):
            yield slot
    finally:
        _slot.reset(token)


def _supervise(slot: Slot, task: Callable[[], T]) -> T:
    with in_slot(slot):
        return task()


def _gib(size: int) -> str:
    return f"{size / (1 << 30):.1f} GiB"
