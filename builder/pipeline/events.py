"""What a run tells whoever watches it. Listeners print; they never decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

# queued, progress and log are for tables and programs; the rest is also told in words.
State: TypeAlias = Literal[
    "queued", "started", "progress", "log", "retry", "done", "reused", "failed", "skipped", "warning"
]


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a subject (a unit id, a source, a distribution)."""

    stage: str  # fetch, pin, buildroot, build, qualify, release, sign, publish, site, verify, schedule
    subject: str
    state: State
    text: str = ""  # for people
    seconds: float | None = None  # wall, with done and failed
    fraction: float | None = None  # 0…1, with progress
    expected: float | None = None  # seconds that it is thought to take, with queued and started
    log: Path | None = None  # what the build is writing now, with log; it goes away with the build
    code: str | None = None  # RepobuildError.code, with failed


class Listener(Protocol):
    """Receives events from any thread."""

    def __call__(self, event: Event, /) -> None:
        """Take one event; must not raise."""


def ignore(_event: Event) -> None:
    """A listener that says nothing."""
