"""Verdicts as the ledger keeps them, and those of several levels as one."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace

from builder.model.cells import Check, Outcome, Verdict

_OUTCOMES = {outcome.value: outcome for outcome in Outcome}  # ten thousand checks are read in a run
CHECKS = 3  # a new number qualifies every result again


def verdict_key(*keys: str) -> str:
    """What a verdict is recorded under: the keys of the results it is about, and of the checks themselves."""
    return "+".join((*keys, f"checks {CHECKS}"))


def verdict_document(verdict: Verdict) -> str:
    """A verdict as the ledger keeps it."""
    checks = [{"name": c.name, "outcome": c.outcome, "evidence": list(c.evidence)} for c in verdict.checks]
    return json.dumps({"unit": verdict.unit_id, "level": verdict.level, "checks": checks})


def read_verdict(document: str) -> Verdict:
    """The verdict of a ledger document."""
    data = json.loads(document)
    checks = tuple(
        Check(name=c["name"], outcome=_OUTCOMES[c["outcome"]], evidence=tuple(c["evidence"])) for c in data["checks"]
    )
    return Verdict(unit_id=data["unit"], level=data["level"], checks=checks)


def join_verdicts(verdicts: Sequence[Verdict]) -> Verdict:
    """Verdicts of one unit, lowest level first, as one: its level is the last's, checks above the first name theirs."""
    first, *more = verdicts
    checks = [*first.checks]
    for verdict in more:
        checks += [replace(check, name=f"{verdict.level}: {check.name}") for check in verdict.checks]
    return Verdict(unit_id=first.unit_id, level=verdicts[-1].level, checks=tuple(checks))
