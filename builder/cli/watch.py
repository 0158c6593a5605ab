"""Everybody who watches a run at once: a person, a file of events, a file of metrics, a summary for a CI system."""

from __future__ import annotations

import time
import uuid
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack, suppress
from datetime import UTC, datetime
from io import TextIOWrapper
from pathlib import Path
from threading import Lock
from types import TracebackType
from typing import Self

from rich.console import Console

from builder.cli.follow import LogFollower
from builder.cli.progress import open_progress
from builder.errors import InterruptedRunError, RepobuildError
from builder.model.run import RunReport
from builder.pipeline.events import Event, Listener
from builder.report import RunNumbers, markdown, write_metrics

_BETWEEN = 10.0  # seconds between two writings of the metrics while the run works


class Watch:
    """A listener for one run; open it around the run and tell it the outcome with ``finish``.

    What cannot be written is told once on the console: a full disk beside the store stops nobody's builds.
    """

    def __init__(
        self,
        console: Console,
        *,
        verbose: bool = False,
        events: Path | None = None,
        metrics: Path | None = None,
        summary: Path | None = None,
    ) -> None:
        self._console = console
        self._verbose = verbose
        self._events, self._metrics, self._summary = events, metrics, summary
        self._listeners: list[Listener] = []
        self._stack = ExitStack()
        self._file: TextIOWrapper | None = None
        self._lock = Lock()
        self._run = uuid.uuid4().hex
        self._started, self._clock = time.time(), time.monotonic()
        self._written = 0.0  # monotonic: when the metrics were
        self._counts: Counter[tuple[str, str]] = Counter()
        self._report: RunReport | None = None
        self._failures: list[str] = []
        self._failure: RepobuildError | None = None
        self._broken: set[str] = set()

    def __enter__(self) -> Self:
        progress = self._stack.enter_context(open_progress(self._console))
        self._listeners.append(progress)
        if self._verbose:
            self._listeners.append(self._stack.enter_context(LogFollower(progress.show_line)))
        if self._events is not None:
            self._safely("--events", self._open_events)
        self._tell_file(Event(stage="run", subject="repobuild", state="started"))
        self._safely("--metrics", self._write_metrics)
        return self

    def __call__(self, event: Event, /) -> None:
        """Hand an event to everybody."""
        for listener in self._listeners:
            listener(event)
        if event.state == "progress":
            return
        with self._lock:
            self._counts[event.stage, event.state] += 1
            self._tell_file(event)
            if time.monotonic() - self._written > _BETWEEN:
                self._safely("--metrics", self._write_metrics)

    def finish(self, report: RunReport, failures: list[str], failure: RepobuildError | None) -> None:
        """What the run came to: ``failure`` is what its exit code will stand for, None for success."""
        self._report = report
        self._failures = failures
        self._failure = failure

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        failure = self._failure if error is None else _failure(error)
        self._stack.close()
        code = failure.exit_code if failure else 0
        with self._lock:
            last = Event(
                stage="run",
                subject="repobuild",
                state="failed" if failure else "done",
                text=failure.message if failure else "",
                seconds=time.monotonic() - self._clock,
                code=failure.code if failure else None,
            )
            self._tell_file(last, exit_code=code)
            self._safely("--metrics", lambda: self._write_metrics(code))
            self._safely("--summary", lambda: self._write_summary(failure))
            if self._file is not None:
                with suppress(OSError):
                    self._file.close()

    def _open_events(self) -> None:
        assert self._events is not None  # noqa: S101  asked before
        self._file = self._events.open("a", encoding="utf-8", buffering=1)

    def _tell_file(self, event: Event, exit_code: int | None = None) -> None:
        if self._file is None:
            return
        from builder.pipeline.event_lines import event_line  # noqa: PLC0415  pydantic's models, which need their time

        now = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        line = event_line(event, run=self._run, time=now, elapsed=time.monotonic() - self._clock, exit_code=exit_code)
        self._safely("--events", lambda: self._write_line(line))

    def _write_line(self, line: str) -> None:
        assert self._file is not None  # noqa: S101  asked before
        self._file.write(line + "\n")

    def _write_metrics(self, exit_code: int | None = None) -> None:
        if self._metrics is None:
            return
        self._written = time.monotonic()
        numbers = RunNumbers(
            started=self._started, now=time.time(), exit_code=exit_code, events=self._counts, report=self._report
        )
        write_metrics(self._metrics, numbers)

    def _write_summary(self, failure: RepobuildError | None) -> None:
        if self._summary is not None:
            self._summary.write_text(markdown(self._report, self._failures, failure), encoding="utf-8")

    def _safely(self, what: str, write: Callable[[], None]) -> None:
        if what in self._broken:
            return
        try:
            write()
        except OSError as exc:
            self._broken.add(what)
            self._console.print(f"{what}: cannot be written, the run goes on: {exc}", markup=False, soft_wrap=True)


def _failure(error: BaseException | None) -> RepobuildError | None:
    if error is None or isinstance(error, RepobuildError):
        return error
    if isinstance(error, KeyboardInterrupt):
        return InterruptedRunError("interrupted", hint="run the same command again; it goes on from there")
    return RepobuildError(f"a bug: {type(error).__name__}: {error}")
