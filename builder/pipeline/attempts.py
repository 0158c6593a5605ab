"""Attempts of a run that failed and are made again: kept in the ledger, told to whoever watches."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

from builder.pipeline.events import Event, Listener
from builder.store import Attempt, Store
from builder.tools.attempts import FailedAttempt, with_attempts

T = TypeVar("T")


def try_again(
    action: Callable[[], T], *, store: Store, listener: Listener, stage: str, subject: str, retries: int
) -> T:
    """Do something, and again where its failure may pass by itself; each failed attempt is recorded and told."""

    def tell(failed: FailedAttempt) -> None:
        error = failed.error
        store.ledger.history.record_attempt(
            Attempt(
                subject=subject,
                number=failed.number,
                stage=stage,
                code=error.code,
                message=error.message,
                wait=failed.wait,
                happened=time.time(),
            )
        )
        if failed.wait:
            text = f"attempt {failed.number} of {retries + 1}: {error.message}; again in {failed.wait:g} s"
            listener(Event(stage=stage, subject=subject, state="retry", text=text))

    return with_attempts(action, retries=retries, tell=tell)
