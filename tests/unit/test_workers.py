"""The worker pool: one failure harms nobody, memory and processors are shared, Ctrl-C ends it in two steps."""

from __future__ import annotations

import os
import signal
import subprocess
import threading
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from builder.errors import BuildError, DiskFullError, InterruptedRunError, ToolTimeoutError
from builder.pipeline.workers import Expected, current_slot, run_all
from builder.tools import machine
from builder.tools.run import reset_cancelled, run, stop
from builder.tools.supervise import current, family
from tests.unit.test_run import alive, wait_until

GIB = 1 << 30
LONG = 60  # seconds, for what has to be stopped


@pytest.fixture(autouse=True)
def _not_cancelled() -> Iterator[None]:
    yield
    reset_cancelled()


def failing(error: Exception) -> Callable[[], int]:
    def task() -> int:
        raise error

    return task


def test_a_failing_task_harms_no_other() -> None:
    found = run_all({"a": lambda: 1, "b": failing(BuildError("no")), "c": lambda: 3}, workers=1)
    assert found["a"] == 1
    assert isinstance(found["b"], BuildError)
    assert found["c"] == 3


def test_fail_fast_starts_nothing_more() -> None:
    found = run_all({"a": failing(BuildError("no")), "b": lambda: 1}, workers=1, fail_fast=True)
    assert list(found) == ["a"]


def test_a_full_disk_stops_the_rest_and_is_raised() -> None:
    started: list[int] = []
    with pytest.raises(DiskFullError):
        run_all({"a": failing(DiskFullError("full")), "b": lambda: started.append(1)}, workers=1)
    assert started == []


def test_a_bug_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        run_all({"a": failing(ZeroDivisionError())}, workers=2)


class Together:
    """Tasks that say who ran at the same time; each waits until all that are meant to be there have come."""

    def __init__(self, parties: Mapping[str, int]) -> None:
        self.parties = parties  # by task: how many are to run with it, itself included
        self.seen: list[frozenset[str]] = []
        self.jobs: dict[str, int] = {}
        self._running: set[str] = set()
        self._changed = threading.Condition()

    def task(self, name: str) -> Callable[[], None]:
        def go() -> None:
            slot = current_slot()
            assert slot is not None
            with self._changed:
                self._running.add(name)
                self.seen.append(frozenset(self._running))
                self._changed.notify_all()
                assert self._changed.wait_for(lambda: any(len(s) >= self.parties[name] for s in self.seen), timeout=30)
                self.jobs[name] = slot.make_jobs()
                self._running.discard(name)

        return go

    def tasks(self) -> dict[str, Callable[[], None]]:
        return {name: self.task(name) for name in self.parties}


def test_a_lone_task_has_every_processor_two_have_half_and_some_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "processors", lambda: 8)
    alone = Together({"a": 1})
    run_all(alone.tasks(), workers=4)
    assert alone.jobs == {"a": 8}
    first = threading.Barrier(2)  # both look before one of them ends

    def both() -> int:
        slot = current_slot()
        assert slot is not None
        first.wait(30)
        jobs = slot.make_jobs()
        first.wait(30)
        return jobs

    assert run_all({"a": both, "b": both}, workers=4) == {"a": 6, "b": 6}


def test_no_more_run_than_fit_into_memory() -> None:
    together = Together({"a": 2, "b": 2, "c": 1})
    said: list[str] = []
    expected = {"a": Expected(memory=3 * GIB), "b": Expected(memory=3 * GIB), "c": Expected(memory=3 * GIB)}
    run_all(together.tasks(), workers=3, expected=expected, memory=6 * GIB, say=said.append)
    assert max(len(names) for names in together.seen) == 2
    assert said == ["c: waits for memory: it is expected to need 3.0 GiB"]


def test_what_needs_more_memory_than_there_is_runs_alone_and_nothing_overtakes_it() -> None:
    together = Together({"small": 1, "huge": 1, "tiny": 1})
    expected = {"small": Expected(memory=GIB), "huge": Expected(memory=64 * GIB)}
    said: list[str] = []
    run_all(together.tasks(), workers=3, expected=expected, memory=4 * GIB, say=said.append)
    assert together.seen == [frozenset({"small"}), frozenset({"huge"}), frozenset({"tiny"})]
    assert said[-1] == ("huge: is expected to need 64.0 GiB of memory and 4.0 GiB are available: it runs alone")


def test_a_deadline_is_that_of_the_whole_task() -> None:
    def task() -> None:
        supervision = current()
        assert supervision is not None
        with pytest.raises(ToolTimeoutError, match="ran longer than"):
            run(["sleep", str(LONG)], timeout=LONG)
        assert supervision.expired
        run(["true"], timeout=LONG)

    (error,) = run_all({"a": task}, workers=1, expected={"a": Expected(limit=0.5)}).values()
    assert isinstance(error, ToolTimeoutError)
    assert error.message == "true: not started, the time for all of it is over"


def test_stopping_a_task_kills_all_that_it_started_sessions_of_their_own_too(tmp_path: Path) -> None:
    pid = tmp_path / "pid"

    def task() -> None:
        supervision = current()
        assert supervision is not None

        def stop_it() -> None:
            wait_until(lambda: pid.exists() and pid.read_text())
            stop(supervision)

        stopper = threading.Thread(target=stop_it)
        stopper.start()
        try:
            run(["sh", "-c", f"setsid sleep {LONG} & echo $! > {pid}; wait"], timeout=LONG)
        finally:
            stopper.join()

    with pytest.raises(InterruptedRunError):
        run_all({"a": task}, workers=1)
    wait_until(lambda: not alive(int(pid.read_text())))


def test_looking_at_processes_that_just_end_harms_nothing() -> None:
    for _ in range(150):  # each is seen at its end about once in twenty times
        process = subprocess.Popen(["true"])
        waiter = threading.Thread(target=process.wait)
        waiter.start()
        while waiter.is_alive():
            assert family(process.pid)[0] == process.pid


def test_memory_of_everything_that_a_task_starts_is_measured(tmp_path: Path) -> None:
    held, enough = 64 << 20, tmp_path / "enough"
    program = f"import os, time\nx = bytearray({held})\nwhile not os.path.exists('{enough}'): time.sleep(0.01)"

    def task() -> int:
        supervision = current()
        assert supervision is not None

        def watch() -> None:
            wait_until(lambda: supervision.peak >= held)
            enough.touch()

        watcher = threading.Thread(target=watch)
        watcher.start()
        run(["sh", "-c", f'python3 -c "{program}"; true'], timeout=LONG)
        watcher.join()
        return supervision.peak

    (peak,) = run_all({"a": task}, workers=1).values()
    assert isinstance(peak, int)
    assert held <= peak < 4 * held


@pytest.fixture
def foreground() -> Iterator[None]:
    """SIGINT as a program in the foreground has it: what a shell starts in the background ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_waits_for_what_is_nearly_done_and_stops_the_rest() -> None:
    said: list[str] = []
    heard = threading.Event()

    def say(text: str) -> None:
        said.append(text)
        heard.set()

    finished: list[str] = []

    def cheap() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(30)
        run(["true"], timeout=LONG)  # goes on as if nothing had happened
        finished.append("cheap")

    def dear() -> None:
        with pytest.raises(InterruptedRunError):
            run(["sleep", str(LONG)], timeout=LONG)
        finished.append("dear stopped")
        raise InterruptedRunError("stopped")

    def never() -> None:
        finished.append("never")

    expected = {"cheap": Expected(seconds=5.0), "dear": Expected(seconds=3600.0)}
    with pytest.raises(KeyboardInterrupt):
        run_all({"cheap": cheap, "dear": dear, "never": never}, workers=2, expected=expected, say=say)
    assert sorted(finished) == ["cheap", "dear stopped"]
    assert len(said) == 1
    assert said[0].startswith("Ctrl-C: nothing new is started, waiting for cheap (about ")
    assert said[0].endswith("; Ctrl-C again stops at once")


@pytest.mark.usefixtures("foreground")
def test_ctrl_c_twice_stops_what_is_nearly_done_too() -> None:
    heard = threading.Event()
    ended: list[str] = []

    def cheap() -> None:
        os.kill(os.getpid(), signal.SIGINT)
        assert heard.wait(30)
        os.kill(os.getpid(), signal.SIGINT)
        try:
            run(["sleep", str(LONG)], timeout=LONG)
        except InterruptedRunError:
            ended.append("stopped")
            raise

    with pytest.raises(KeyboardInterrupt):
        run_all({"cheap": cheap}, workers=1, expected={"cheap": Expected(seconds=5.0)}, say=lambda _t: heard.set())
    assert ended == ["stopped"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
