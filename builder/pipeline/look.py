"""Look at a work folder: status, the support matrix of what is current."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from builder.model.cells import Decision
from builder.pipeline.events import Listener, ignore
from builder.pipeline.matrix import open_workshop, plan_units
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.publish import current_generation
from builder.store import Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """Counts, failures and current generations of a work folder."""

    work: str
    results: int
    decisions: dict[str, int]
    failures: tuple[Failure, ...]
    publications: dict[str, str]  # <distribution>/<arch> → digest

    def document(self) -> dict[str, object]:
        """As JSON."""
        return {
            "work": self.work,
            "results": self.results,
            "decisions": self.decisions,
            "failures": [_failure_document(f) for f in self.failures],
            "publications": self.publications,
        }

    def lines(self) -> list[str]:
        """For people."""
        lines = [f"work        {self.work}", f"results     {self.results}"]
        lines.append("next run    " + ", ".join(f"{n} {what}" for what, n in self.decisions.items() if n))
        lines.extend(f"current     {where} {digest}" for where, digest in self.publications.items())
        lines.extend(f"failed      {f.unit_id}: {f.stage}: {f.message}" for f in self.failures)
        return lines


def _failure_document(failure: Failure) -> dict[str, object]:
    return {
        "unit": failure.unit_id,
        "stage": failure.stage,
        "code": failure.code,
        "message": failure.message,
        "details": list(failure.details),
        "log": str(failure.log) if failure.log else None,
        "happened": datetime.fromtimestamp(failure.happened, UTC).isoformat(timespec="seconds"),
    }


def status_of(settings: Settings, listener: Listener) -> Status:
    """What the work folder holds and what the next run would do; changes nothing."""
    shop = open_workshop(settings, listener, exclusive=False)
    with shop.store:
        look_at_all(shop)
        actions = plan_units(shop)
        failures = [shop.store.ledger.failure(u.scope) for u in shop.configuration.units]
        current = {
            f"{d.name}/{arch}": digest
            for d in shop.configuration.matrix.distributions
            for arch in d.arches
            if (digest := current_generation(settings.repo_path, d.name, arch)) is not None
        }
        return Status(
            work=str(settings.work.absolute()),
            results=len(shop.store.ledger.result_keys()),
            decisions={d.value: sum(a.decision is d for a in actions) for d in Decision},
            failures=tuple(f for f in failures if f is not None),
            publications=current,
        )


def support_of(settings: Settings) -> list[tuple[str, dict[str, object]]]:
    """``(<distribution>/<arch>, support matrix)`` of every current publication, as it was published."""
    shop = open_workshop(replace(settings, store=None), ignore, exclusive=False)  # says nothing of keys
    found = []
    with shop.store:
        for distribution in shop.configuration.matrix.distributions:
            for arch in distribution.arches:
                path = settings.repo_path / distribution.name / arch / "support-matrix.json"
                if path.is_file():
                    found.append((f"{distribution.name}/{arch}", json.loads(path.read_text())))
    return found
