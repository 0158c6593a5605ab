"""When things leave the publications, what is kept for clients, and who is told."""

from __future__ import annotations

import calendar
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path
from typing import Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class RetentionRules:
    """The rules of matrix.yaml (``retention:``)."""

    grace_days: int = 0  # after its last day something is still published
    notice_days: int = 90  # before it leaves it must have been announced
    newest_kernels: int = 3  # of a variant that stay whatever their lifetime
    former_generations: int = 3  # whose files stay at their addresses
    early: Literal["warn", "refuse"] = "warn"  # where a publication takes away what is in its lifetime


DEFAULT_RETENTION = RetentionRules()


@dataclass(frozen=True, slots=True, kw_only=True)
class Webhook:
    """Who is told of each publication."""

    url: str
    secret_file: Path | None = None  # absolute
    secret_env: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Retired:
    """What `repobuild prune` took out of the publications, as matrix.retired.yaml says."""

    kind: Literal["kernel", "branch"]
    name: str  # uname -r, or the branch
    on: str  # "YYYY-MM-DD"
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Announced:
    """Since when something is said to leave."""

    leaves: str  # "YYYY-MM-DD"
    since: str  # "YYYY-MM-DD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Departure:
    """Whether something that has a lifetime leaves the publications now, and why."""

    kind: Literal["kernel", "branch"]
    name: str
    leaves: str | None  # the day from which it may; None: its lifetime is not known
    goes: bool
    reason: str

    @property
    def what(self) -> str:
        """As in announcements."""
        return leaving_name(self.kind, self.name)


def leaving_name(kind: str, name: str) -> str:
    """``kernel 6.1.0-50-amd64``, ``branch R535``."""
    return f"kernel {name}" if kind == "kernel" else f"branch R{name}"


def last_day(when: str) -> str:
    """The last day of a year, month or day: ``2026`` is 2026-12-31, ``2026-02`` is 2026-02-28."""
    parts = when.split("-")
    if len(parts) == 3:
        return when
    year, month = int(parts[0]), int(parts[1]) if len(parts) > 1 else 12
    return f"{year}-{month:02}-{calendar.monthrange(year, month)[1]}"


def leaves_on(eol: str | None, rules: RetentionRules) -> str | None:
    """The day from which something may leave: the one after its last day and the days of grace."""
    if eol is None:
        return None
    return (date.fromisoformat(last_day(eol)) + timedelta(days=rules.grace_days + 1)).isoformat()
