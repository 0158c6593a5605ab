"""Every error class owns an exit code and a stable code."""

from __future__ import annotations

from builder import errors
from builder.errors import ConfigError, Mistake, RepobuildError


def classes() -> list[type[RepobuildError]]:
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    return [c for c in found if issubclass(c, RepobuildError)]


def test_exit_codes_and_codes_are_unique_and_fit_a_shell() -> None:
    exit_codes = [c.exit_code for c in classes()]
    assert len(set(exit_codes)) == len(exit_codes)
    assert all(0 < code < 256 for code in exit_codes)
    assert len({c.code for c in classes()}) == len(exit_codes)


def test_mistakes_are_told_in_file_and_line_order() -> None:
    error = ConfigError([Mistake(file="b", line=1, message="x"), Mistake(file="a", line=9, message="y")])
    assert error.details == ("a:9: y", "b:1: x")
