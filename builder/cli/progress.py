"""Live progress: a rich display on a terminal, plain lines elsewhere. Always on stderr."""

from __future__ import annotations

import time
from threading import Lock

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn

from builder.pipeline.events import Event

_MARKS = {
    "done": "[green]✔[/]",
    "reused": "[cyan]↺[/]",
    "failed": "[red]✘[/]",
    "skipped": "[dim]–[/]",
    "warning": "[yellow]![/]",
}


class PlainProgress:
    """One line an event, each with its subject first, for logs and pipes."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._lock = Lock()
        self._started = time.monotonic()

    def __call__(self, event: Event, /) -> None:
        """Print one line, but for progress within a download and the place of a log."""
        if event.state in ("progress", "log"):
            return
        took = f" ({event.seconds:.1f} s)" if event.seconds is not None else ""
        text = f": {event.text}" if event.text else ""
        with self._lock:
            clock = time.monotonic() - self._started
            line = f"[{clock:7.1f}] {event.subject}: {event.stage} {event.state}{text}{took}"
            self._console.print(line, markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> PlainProgress:
        return self

    def __exit__(self, *_args: object) -> None:
        """Nothing to tidy."""


class LiveProgress:
    """A line for each running task with its time, finished ones scroll by above."""

    def __init__(self, console: Console) -> None:
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.fields[stage]:<9}"),
            TextColumn("[bold]{task.description}"),
            BarColumn(bar_width=20),
            TimeElapsedColumn(),
            console=console,
            transient=True,
        )
        self._tasks: dict[tuple[str, str], TaskID] = {}
        self._lock = Lock()

    def __call__(self, event: Event, /) -> None:
        """Show a task that started, move its bar, or let it scroll by when it has ended."""
        key = (event.stage, event.subject)
        with self._lock:
            if event.state == "started":
                self._tasks[key] = self._progress.add_task(event.subject, total=None, stage=event.stage)
            elif event.state == "progress":
                if key in self._tasks and event.fraction is not None:
                    self._progress.update(self._tasks[key], total=1.0, completed=event.fraction)
            elif event.state not in ("log", "retry"):
                self._finish(key, event)

    def _finish(self, key: tuple[str, str], event: Event) -> None:
        task = self._tasks.pop(key, None)
        if task is not None:
            self._progress.remove_task(task)
        took = f" [dim]{event.seconds:.1f} s[/]" if event.seconds is not None else ""
        text = f" [dim]{escape(event.text)}[/]" if event.text else ""
        mark = _MARKS.get(event.state, " ")
        self._progress.console.print(f"{mark} {event.stage:<9} [bold]{escape(event.subject)}[/]{text}{took}")

    def __enter__(self) -> LiveProgress:
        self._progress.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._progress.stop()


def open_progress(console: Console) -> LiveProgress | PlainProgress:
    """Live on a terminal, plain elsewhere."""
    return LiveProgress(console) if console.is_terminal else PlainProgress(console)
