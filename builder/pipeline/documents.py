"""Plans, runs and what was freed as JSON documents."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from builder.errors import StalePlanError
from builder.model.cells import Action, Cell, Check, Decision, Unit
from builder.model.planning import UnitOutcome
from builder.model.retention import Retention
from builder.model.run import DistributionReport, RunReport
from builder.pipeline.configure import Configuration

PLAN_SCHEMA = 1


def cell_document(cell: Cell) -> dict[str, object]:
    """A cell's coordinates."""
    return {
        "id": cell.id,
        "distribution": cell.distribution.name,
        "arch": cell.arch,
        "kernel_release": cell.kernel.release,
        "variant": cell.kernel.variant,
        "driver_branch": cell.driver.branch,
        "driver_version": cell.driver.version,
        "flavor": cell.flavor.value,
    }


def unit_document(unit: Unit) -> dict[str, object]:
    """A unit's coordinates; a cell's for kmods."""
    if unit.cell is not None:
        return {"kind": unit.kind.value, **cell_document(unit.cell)}
    return {
        "kind": unit.kind.value,
        "id": unit.id,
        "distribution": unit.distribution.name,
        "arch": unit.arch,
        "driver_branch": None if unit.of_repository else unit.driver.branch,
        "driver_version": None if unit.of_repository else unit.driver.version,
        "flavor": unit.flavor.value if unit.flavor else None,
    }


def _action_document(action: Action) -> dict[str, object]:
    return {
        **unit_document(action.unit),
        "decision": action.decision.value,
        "reason": action.reason,
        "hint": action.hint,
        "key": action.key,
    }


def plan_document(configuration: Configuration, actions: Sequence[Action]) -> dict[str, object]:
    """A plan: every cell (excluded ones too) and every package with decision and reason."""
    counts = {d.value: sum(a.decision is d for a in actions) for d in Decision}
    return {
        "schema": PLAN_SCHEMA,
        "module": configuration.matrix.module,
        "counts": counts,
        "cells": [_action_document(a) for a in actions if a.unit.cell is not None],
        "packages": [_action_document(a) for a in actions if a.unit.cell is None],
    }


def saved_keys(document: object, path: Path) -> tuple[tuple[str, ...], dict[str, str]]:
    """Ids to build and the keys they had, from a saved plan; StalePlanError when the file is no plan of ours."""
    try:
        assert isinstance(document, dict)  # noqa: S101  turned into a message below
        assert document["schema"] == PLAN_SCHEMA  # noqa: S101  likewise
        rows = [*document["cells"], *document["packages"]]
        wanted = tuple(str(r["id"]) for r in rows if r["decision"] == Decision.BUILD.value)
        keys = {str(r["id"]): str(r["key"]) for r in rows if r["key"] is not None}
    except (AssertionError, KeyError, TypeError) as exc:
        raise StalePlanError(
            f"{path}: not a plan of this version", hint="repobuild plan -o plan.json writes one"
        ) from exc
    return wanted, keys


def outcome_document(outcome: UnitOutcome) -> dict[str, object]:
    """What came of a unit."""
    result, verdict = outcome.result, outcome.verdict
    return {
        **unit_document(outcome.unit),
        "ok": outcome.ok,
        "reason": outcome.reason,
        "code": outcome.code,
        "key": result.key if result else None,
        "seconds": result.seconds if result else None,
        "rpms": [str(a.nevra) for a in result.artifacts] if result else [],
        "bytes": sum(a.size for a in result.artifacts) if result else None,
        "level": verdict.level if verdict else None,
        "checks": [_check_document(c) for c in verdict.checks] if verdict else [],
    }


def _check_document(check: Check) -> dict[str, object]:
    return {"name": check.name, "outcome": check.outcome.value, "evidence": list(check.evidence)}


def distribution_document(report: DistributionReport) -> dict[str, object]:
    """Streams and publication of one distribution × arch."""
    publication = report.publication
    return {
        "distribution": report.distribution.name,
        "arch": report.arch,
        "streams": [
            {
                "stream": plan.stream.name,
                "drivers": [d.version for d in plan.drivers],
                "held": [{"driver": version, "reason": reason} for version, reason in plan.held],
            }
            for plan in report.streams
        ],
        "publication": None
        if publication is None
        else {
            "digest": publication.digest,
            "path": str(publication.current),
            "packages": publication.packages,
            "changed": publication.changed,
        },
        "error": report.error.message if report.error else None,
    }


def run_document(report: RunReport) -> dict[str, object]:
    """All of a run."""
    return {
        "units": [outcome_document(o) for o in report.outcomes],
        "distributions": [distribution_document(d) for d in report.distributions],
    }


def retention_document(found: Retention) -> dict[str, object]:
    """What freeing space did or would do, as JSON; sizes in bytes, each inode counted once."""
    return {
        "removed": found.removed,
        "total_bytes": found.total,
        "freed_bytes": found.frees,
        "ledger_rows": found.rows,
        "items": [
            {
                "kind": fate.item.kind,
                "name": fate.item.name,
                "about": fate.item.about,
                "used": datetime.fromtimestamp(fate.item.used, UTC).isoformat(timespec="seconds"),
                "stays": fate.stays,
                "reason": fate.reason,
                "freed_bytes": fate.frees,
            }
            for fate in found.fates
        ],
    }
