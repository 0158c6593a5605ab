"""The worker pool: one failure harms nobody, a full disk stops the rest."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from builder.errors import BuildError, DiskFullError
from builder.pipeline.workers import run_all


def failing(error: Exception) -> Callable[[], int]:
    def task() -> int:
        raise error

    return task


def test_a_failing_task_harms_no_other() -> None:
    found = run_all({"a": lambda: 1, "b": failing(BuildError("no")), "c": lambda: 3}, workers=1)
    assert found["a"] == 1
    assert isinstance(found["b"], BuildError)
    assert found["c"] == 3


def test_fail_fast_starts_nothing_more() -> None:
    found = run_all({"a": failing(BuildError("no")), "b": lambda: 1}, workers=1, fail_fast=True)
    assert list(found) == ["a"]


def test_a_full_disk_stops_the_rest_and_is_raised() -> None:
    started: list[int] = []
    with pytest.raises(DiskFullError):
        run_all({"a": failing(DiskFullError("full")), "b": lambda: started.append(1)}, workers=1)
    assert started == []


def test_a_bug_is_not_swallowed() -> None:
    with pytest.raises(ZeroDivisionError):
        run_all({"a": failing(ZeroDivisionError())}, workers=2)
