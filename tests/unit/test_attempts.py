"""Trying again: only what may pass by itself, with growing pauses, each attempt told."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest

from builder import errors
from builder.errors import BuildError, FetchError, RepobuildError, RepositoryError, UnreachableError
from builder.tools.attempts import FailedAttempt, with_attempts


def failing(failures: Sequence[RepobuildError], value: str = "done") -> Callable[[], str]:
    left = list(failures)

    def action() -> str:
        if left:
            raise left.pop(0)
        return value

    return action


def test_only_what_passes_by_itself_is_tried_again() -> None:
    classes = [c for c in vars(errors).values() if isinstance(c, type) and issubclass(c, RepobuildError)]
    assert {c.code for c in classes if c.retryable} == {"unreachable", "repository", "buildroot-locked", "build-killed"}


def test_a_lost_mirror_is_tried_again_and_each_attempt_is_told() -> None:
    told: list[FailedAttempt] = []
    pauses: list[float] = []
    action = failing([RepositoryError("lost"), RepositoryError("lost again")])
    assert with_attempts(action, tell=told.append, wait=pauses.append) == "done"
    assert [(a.number, a.error.message, a.wait) for a in told] == [(1, "lost", 1.0), (2, "lost again", 2.0)]
    assert pauses == [1.0, 2.0]


@pytest.mark.parametrize("error", [BuildError("gcc says no"), FetchError("HTTP 404")])
def test_what_stays_wrong_is_tried_once(error: RepobuildError) -> None:
    pauses: list[float] = []
    with pytest.raises(type(error)) as caught:
        with_attempts(failing([error]), wait=pauses.append)
    assert caught.value is error
    assert pauses == []


def test_the_last_attempt_is_told_and_raised_with_the_number_of_tries() -> None:
    told: list[FailedAttempt] = []
    with pytest.raises(UnreachableError, match=r"^no answer \(3 tries\)$"):
        with_attempts(
            failing([UnreachableError("no answer") for _ in range(9)]),
            retries=2,
            tell=told.append,
            wait=lambda _s: None,
        )
    assert [a.wait for a in told] == [1.0, 2.0, 0.0]


def test_a_server_says_how_long_to_wait_within_reason() -> None:
    busy, greedy = UnreachableError("HTTP 503"), UnreachableError("HTTP 503")
    busy.retry_after, greedy.retry_after = 7.0, 3600.0
    pauses: list[float] = []
    assert with_attempts(failing([busy, greedy]), wait=pauses.append) == "done"
    assert pauses == [7.0, 60.0]
