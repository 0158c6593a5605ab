"""What a run tells whoever watches it. Listeners print; they never decide."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """One thing that happened to a subject (a unit id, a source, a distribution)."""

    stage: str  # fetch, pin, buildroot, build, qualify, sign, publish, verify, schedule
    subject: str
    state: str  # started, progress, log, retry, done, reused, failed, skipped, warning
    text: str = ""  # for people
    seconds: float | None = None  # wall, with done and failed
    fraction: float | None = None  # 0…1, with progress
    expected: float | None = None  # seconds that it is thought to take, with started
    log: Path | None = None  # what the build is writing now, with log; it goes away with the build


class Listener(Protocol):
    """Receives events from any thread."""

    def __call__(self, event: Event, /) -> None:
        """Take one event; must not raise."""


def ignore(_event: Event) -> None:
    """A listener that says nothing."""
