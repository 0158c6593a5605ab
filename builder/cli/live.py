"""The live table of a terminal: what runs, for how long, how long still, and the last line of its log."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from threading import Lock

from rich.console import Console, RenderableType
from rich.live import Live
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from builder.cli.together import Together
from builder.pipeline.events import Event
from builder.tools.run import tail

_MARKS = {
    "done": "[green]✔[/]",
    "reused": "[cyan]↺[/]",
    "failed": "[red]✘[/]",
    "skipped": "[dim]–[/]",
    "warning": "[yellow]![/]",
    "retry": "[yellow]↻[/]",
}
_ENDS = ("done", "reused", "failed", "skipped")
_BESIDE = 4  # lines of the terminal that the table leaves free


@dataclass(slots=True, kw_only=True)
class _Row:
    stage: str
    subject: str
    started: float  # monotonic
    expected: float | None
    fraction: float | None = None
    log: Path | None = None


@dataclass(slots=True)
class Board:
    """What the table shows, kept from events; knows nothing of terminals."""

    clock: Callable[[], float] = time.monotonic
    rows: dict[tuple[str, str], _Row] = field(default_factory=dict)
    queued: dict[str, float] = field(default_factory=dict)  # builds that wait: expected seconds
    ended: dict[str, int] = field(default_factory=dict)  # builds by the state they ended with

    def take(self, event: Event) -> None:
        """Change with an event."""
        key = (event.stage, event.subject)
        if event.state == "queued":
            self.queued[event.subject] = event.expected or 0.0
        elif event.state == "started":
            self.queued.pop(event.subject, None)
            self.rows[key] = _Row(
                stage=event.stage, subject=event.subject, started=self.clock(), expected=event.expected
            )
        elif event.state == "log" and key in self.rows:
            self.rows[key].log = event.log
        elif event.state == "progress" and key in self.rows:
            self.rows[key].fraction = event.fraction
        elif event.state in _ENDS:
            self.rows.pop(key, None)
            self.queued.pop(event.subject, None)
            if event.stage == "build":
                self.ended[event.state] = self.ended.get(event.state, 0) + 1

    def left(self, row: _Row) -> float | None:
        """Seconds until a row is thought to be done, 0 when it is overdue, None where nobody knows."""
        gone = self.clock() - row.started
        if row.fraction:
            return gone / row.fraction - gone
        return None if row.expected is None else max(0.0, row.expected - gone)

    def summary(self) -> str:
        """One line: builds that ended, run and wait, and when all is thought to be done."""
        builds = [row for row in self.rows.values() if row.stage == "build"]
        counts = [f"{n} {state}" for state, n in self.ended.items()]
        counts += [f"{len(builds)} running"] if builds else []
        counts += [f"{len(self.queued)} waiting"] if self.queued else []
        work = sum(self.queued.values()) + sum(self.left(row) or 0.0 for row in builds)
        eta = f", about {duration(work / len(builds))} more" if builds and work else ""
        return f"builds: {', '.join(counts)}{eta}" if counts else ""


def duration(seconds: float) -> str:
    """``12 s``, ``3:05``, ``2:07:09``."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


class LiveTable:
    """A row for each running task; finished ones scroll by above."""

    def __init__(self, console: Console) -> None:
        self._board = Board()
        self._together = Together()
        self._lock = Lock()
        self._console = console
        self._live = Live(console=console, get_renderable=self._render, refresh_per_second=4, transient=True)

    def __call__(self, event: Event, /) -> None:
        """Show what changed; what has ended, a warning and a failed attempt scroll by."""
        with self._lock:
            self._board.take(event)
            told = self._together.take(event) if event.state in _MARKS else []
        for one in told:
            self._scroll(one)

    def _scroll(self, event: Event) -> None:
        took = f" [dim]{event.seconds:.1f} s[/]" if event.seconds is not None else ""
        text = f" [dim]{escape(event.text)}[/]" if event.text else ""
        mark = _MARKS[event.state]
        self._console.print(f"{mark} {event.stage:<9} [bold]{escape(event.subject)}[/]{text}{took}")

    def show_line(self, subject: str, line: str) -> None:
        """A line of a subject's log."""
        self._console.print(f"{subject}: {line}", markup=False, highlight=False, soft_wrap=True)

    def __enter__(self) -> LiveTable:
        self._live.start()
        return self

    def __exit__(self, *_args: object) -> None:
        for one in self._together.rest():
            self._scroll(one)
        self._live.stop()

    def _render(self) -> RenderableType:
        with self._lock:
            return render_board(self._board, height=self._console.height)


def render_board(board: Board, *, height: int) -> Table:
    """The table of a board on a terminal of so many lines."""
    table = Table(box=None, padding=(0, 2, 0, 0), expand=True, caption=board.summary() or None, caption_justify="left")
    for title in ("cell", "stage", "elapsed", "left"):
        table.add_column(title, no_wrap=True, header_style="dim")
    table.add_column("log", no_wrap=True, overflow="ellipsis", ratio=1, header_style="dim")
    rows = sorted(board.rows.values(), key=lambda row: row.started)
    shown = max(1, height - _BESIDE)
    for row in rows[:shown]:
        left = board.left(row)
        last = tail(row.log, 1) if row.log else ()
        table.add_row(
            Text(row.subject, style="bold"),
            row.stage,
            duration(board.clock() - row.started),
            "" if left is None else duration(left) if left else "overdue",
            Text(last[-1] if last else "", style="dim"),
        )
    if len(rows) > shown:
        table.add_row(f"and {len(rows) - shown} more")
    return table
