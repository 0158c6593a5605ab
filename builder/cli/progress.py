"""What a person sees while a run works: a live table on a terminal, one line an event elsewhere. Always on stderr."""

from __future__ import annotations

import time
from dataclasses import replace
from threading import Lock
from typing import Protocol

from rich.console import Console
from rich.control import strip_control_codes

from builder.cli.live import LiveTable
from builder.pipeline.events import Event

_SILENT = ("progress", "queued", "log")  # for the table, and for programs


class PlainProgress:
    """One line an event, each with its subject first, for logs and pipes; one for all that is reused in a row."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._started = time.monotonic()
        self._reused: list[Event] = []  # told together

    def __call__(self, event: Event, /) -> None:
        """Print one line, but for what only a table can show."""
        if event.state in _SILENT:
            return
        with self._lock:
            if event.state == "reused":
                self._reused.append(event)
            else:
                self._tell_reused()
                self._print(self._line(event))

    def _line(self, event: Event) -> str:
        took = f" ({event.seconds:.1f} s)" if event.seconds is not None else ""
        text = f": {event.text}" if event.text else ""
        clock = time.monotonic() - self._started
        return f"[{clock:7.1f}] {event.subject}: {event.stage} {event.state}{text}{took}"

    def _tell_reused(self) -> None:
        known, self._reused = self._reused, []
        if len(known) > 1:
            first = known[0]
            self._print(self._line(replace(first, subject=f"{first.subject} and {len(known) - 1} more")))
        elif known:
            self._print(self._line(known[0]))

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
            self._tell_reused()


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
