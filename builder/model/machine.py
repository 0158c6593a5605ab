"""What a machine can do for a matrix, as ``repobuild doctor`` found it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builder.errors import RepobuildError


class Fitness(StrEnum):
    """What one finding means for the runs that were asked about."""

    OK = "ok"
    ABSENT = "absent"  # not here, and not needed
    WARNING = "warning"  # a run works, worse than it could
    MISSING = "missing"  # a run needs it


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at."""

    subject: str  # "chroot builder", "dnf", "signing key" …
    fitness: Fitness
    text: str  # version, number, or what is wrong
    error: RepobuildError | None = None  # what a run would fail with, where it is missing
    programs: tuple[str, ...] = ()  # that would have to be installed


@dataclass(frozen=True, slots=True, kw_only=True)
class Examination:
    """All findings, in reading order."""

    findings: tuple[Finding, ...]
    install: str | None  # command that installs what is missing, where one does

    @property
    def failure(self) -> RepobuildError | None:
        """The first failure a run would meet, None where the selected builder and levels can run."""
        return next((f.error for f in self.findings if f.fitness is Fitness.MISSING and f.error is not None), None)
