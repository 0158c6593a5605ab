"""When things leave the publications, what is kept for clients, and who is told."""

from __future__ import annotations

from dataclasses import dataclass
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
