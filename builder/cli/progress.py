"""What a person sees while a run works: a live table on a terminal, one line an event elsewhere. Always on stderr."""

from __future__ import annotations

import time
from threading import Lock
from typing import Protocol

from rich.console import Console
from rich.control import strip_control_codes

from builder.cli.live import LiveTable
from builder.cli.together import Together
from builder.pipeline.events import Event

_SILENT = ("progress", "queued", "log")  # for the table, and for programs


class PlainProgress:
    """One line an event, each with its subject first, for logs and pipes; one for all that is reused in a row."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._started = time.monotonic()
        self._together = Together()

    def __call__(self, event: Event, /) -> None:
        """Print one line, but for what only a table can show."""
        if event.state in _SILENT:
            return
        with self._lock:
            for told in self._together.take(event):
                self._tell(told)

    def _tell(self, event: Event) -> None:
        took = f" ({event.seconds:.1f} s)" if event.seconds is not None else ""
        text = f": {event.text}" if event.text else ""
        clock = time.monotonic() - self._started
        self._print(f"[{clock:7.1f}] {event.subject}: {event.stage} {event.state}{text}{took}")

    def show_line(self, subject: str, line: str) -> None:
        """A line of a subject's log."""
        with self._lock:
            self._print(f"{subject}: {line}")

    def _print(self, line: str) -> None:
        # By hand: thousands of lines, each of which would be laid out for a terminal.
        self._console.file.write(f"{strip_control_codes(line)}\n")
        self._console.file.flush()

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_args: object) -> None:
        """Tell what is not told yet."""
        with self._lock:
            for told in self._together.rest():
                self._tell(told)


class Progress(Protocol):
    """A listener that a person watches; open it around the run."""

    def __call__(self, event: Event, /) -> None:
        """Take one event."""

    def show_line(self, subject: str, line: str) -> None:
        """A line of a subject's log."""

    def __enter__(self) -> Progress: ...

    def __exit__(self, *_args: object) -> None: ...


def open_progress(console: Console) -> Progress:
    """Live on a terminal, plain elsewhere."""
    return LiveTable(console) if console.is_terminal else PlainProgress(console)
