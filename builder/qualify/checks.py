"""How a check says what it found."""

from __future__ import annotations

from collections.abc import Sequence

from builder.model.cells import Check, Outcome

LEVEL = "static"
_SHOWN = 5  # faults shown one by one; the rest is counted


def check(name: str, faults: Sequence[str], *, passed: Sequence[str]) -> Check:
    """Failed with the first faults and their count when there are any, else ok with what was compared."""
    if not faults:
        return Check(name=name, outcome=Outcome.OK, evidence=tuple(passed))
    more = len(faults) - 1
    first = f"{faults[0]} (and {more} more)" if more else faults[0]
    rest = [*faults[1:_SHOWN], *([f"… {len(faults) - _SHOWN} more"] if len(faults) > _SHOWN else [])]
    return Check(name=name, outcome=Outcome.FAILED, evidence=(first, *rest))
