"""Trying again what may pass by itself, with growing pauses. Which failures those are, builder/errors.py says."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar

from builder.errors import RepobuildError
from builder.tools.run import pause

T = TypeVar("T")

RETRIES = 4  # after the first attempt
_LONGEST = 60.0  # seconds; what a server asks for above this is cut


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedAttempt:
    """One attempt that failed and is made again."""

    number: int  # 1: the first
    error: RepobuildError
    wait: float  # seconds until the next one; 0: there is none


def ignore_attempt(_attempt: FailedAttempt) -> None:
    """For callers whom nobody watches."""


def with_attempts(
    action: Callable[[], T],
    *,
    retries: int = RETRIES,
    tell: Callable[[FailedAttempt], None] = ignore_attempt,
    wait: Callable[[float], None] | None = None,
) -> T:
    """Do something, and again where its failure is ``retryable``: after 1, 2, 4 … seconds, or what a server asked for.

    Every failed attempt of a retryable kind is told, the last one too. Raises what the last attempt raised, its
    message with the number of tries; InterruptedRunError where the run is stopped during a pause.
    """
    number = 0
    while True:
        number += 1
        try:
            return action()
        except RepobuildError as exc:
            if not exc.retryable:
                raise
            last = number > retries
            seconds = 0.0 if last else min(exc.retry_after or 2.0 ** (number - 1), _LONGEST)
            tell(FailedAttempt(number=number, error=exc, wait=seconds))
            if last:
                if number > 1:
                    exc.message = f"{exc.message} ({number} tries)"
                    exc.args = (exc.message,)
                raise
            (wait or pause)(seconds)
