"""Qualify cells beyond "static", as far as their streams ask: installed, booted, booted under Secure Boot."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path

from builder.errors import QualifyError, RepobuildError
from builder.model.cells import PackageKind, Unit, Verdict
from builder.model.levels import Level, highest
from builder.model.planning import UnitOutcome
from builder.pipeline.verdicts import join_verdicts, read_verdict, verdict_document, verdict_key
from builder.pipeline.workers import run_all
from builder.pipeline.workshop import Workshop
from builder.plan.levels import required_level
from builder.qualify import (
    InstalledRoot,
    make_install_root,
    not_installed,
    qualify_boot,
    qualify_install,
    qualify_secureboot,
    timed_out,
    unsigned_verdict,
)
from builder.store import remove_tree

_INSTALL_TIMEOUT = 1800.0  # seconds
_BOOT_TIMEOUT = 900.0  # seconds: an emulated machine on a busy host


def qualify_levels(shop: Workshop, outcomes: Mapping[str, UnitOutcome]) -> dict[str, UnitOutcome]:
    """Try every good cell as far as the streams that may carry it ask (or ``--level`` does).

    Returns all outcomes; a cell that fails is no longer ok, its verdict holds the evidence, and logs/<cell>/ the
    console. Verdicts recorded before are taken. A tool that cannot be run fails its cell, not the others.
    """
    matrix = shop.configuration.matrix
    asked = shop.settings.level or Level.STATIC
    wanted = {
        unit_id: level
        for unit_id, outcome in outcomes.items()
        if outcome.unit.cell is not None
        and outcome.ok
        and (level := highest(asked, required_level(outcome.unit.cell, matrix))) is not Level.STATIC
    }
    tasks = {i: partial(_qualify, shop, outcomes[i], _objects(outcomes[i].unit, outcomes), wanted[i]) for i in wanted}
    done = run_all(tasks, workers=shop.settings.workers)
    changed = dict(outcomes)
    for unit_id, result in done.items():
        outcome = outcomes[unit_id]
        if isinstance(result, RepobuildError):
            reason = f"{wanted[unit_id]}: {result.message}"
            changed[unit_id] = replace(outcome, verdict=None, reason=reason, code="qualify")
        elif not result.ok:
            changed[unit_id] = replace(outcome, verdict=result, reason=result.reason, code="qualify")
        else:
            changed[unit_id] = replace(outcome, verdict=result)
    return changed


def _objects(unit: Unit, outcomes: Mapping[str, UnitOutcome]) -> UnitOutcome | None:
    """The objects' package that a cell's modules are joined with."""
    for outcome in outcomes.values():
        other = outcome.unit
        if other.kind is PackageKind.OBJECTS and (other.driver, other.flavor, other.distribution, other.arch) == (
            unit.driver,
            unit.flavor,
            unit.distribution,
            unit.arch,
        ):
            return outcome if outcome.ok else None
    return None


def _qualify(shop: Workshop, outcome: UnitOutcome, objects: UnitOutcome | None, level: Level) -> Verdict:
    assert outcome.result is not None  # noqa: S101  only good outcomes come here
    assert outcome.verdict is not None  # noqa: S101
    if objects is None or objects.result is None:
        raise QualifyError(
            f"{outcome.unit.id}: its objects' package is not there", hint="it failed or was not selected"
        )
    key = verdict_key(outcome.result.key, objects.result.key)
    steps: tuple[Level, ...] = tuple(dict.fromkeys((Level.INSTALL, level)))
    recorded = {step: shop.store.ledger.verdict(key, step) for step in steps}
    verdicts: dict[Level, Verdict] = {step: read_verdict(text) for step, text in recorded.items() if text is not None}
    if any(step not in verdicts and not _failed(verdicts) for step in steps):
        rpms = tuple(a.path for o in (outcome, objects) if o.result for a in o.result.artifacts)
        _run(shop, outcome.unit, rpms, steps, verdicts, key)
    return join_verdicts((outcome.verdict, *verdicts.values()))


def _failed(verdicts: Mapping[Level, Verdict]) -> bool:
    return any(not v.ok for v in verdicts.values())


def _run(
    shop: Workshop,
    unit: Unit,
    rpms: tuple[Path, ...],
    steps: tuple[Level, ...],
    verdicts: dict[Level, Verdict],
    key: str,
) -> None:
    """Go through the steps that have no verdict yet, up to the first that fails; each is recorded."""
    cell = unit.cell
    assert cell is not None  # noqa: S101  only cells come here
    logs = shop.store.logs(unit.id)
    with shop.store.tmp() as tmp:
        root = tmp / "root"
        try:
            installed: InstalledRoot | None = None
            for step in steps:
                if step in verdicts:
                    continue
                shop.tell("qualify", unit.id, "started", step.value)
                started = time.monotonic()
                try:
                    if installed is None:
                        installed = make_install_root(
                            shop.chroot(unit),
                            cell.kernel,
                            rpms,
                            root,
                            log=tmp / "install.log",
                            timeout=_INSTALL_TIMEOUT,
                        )
                    verdict = _step(shop, unit, step, installed, tmp / step.value)
                except QualifyError as exc:
                    verdict = not_installed(cell, exc)
                verdicts[step] = verdict
                if not timed_out(verdict):  # which says more of this machine than of the cell
                    shop.store.ledger.record_verdict(key, step, ok=verdict.ok, document=verdict_document(verdict))
                seconds = time.monotonic() - started
                text = f"{step}: {verdict.reason}"
                if not verdict.ok:
                    shop.tell("qualify", unit.id, "failed", text, seconds, code=QualifyError.code)
                    _keep(tmp, logs)
                    return
                shop.tell("qualify", unit.id, "done", text, seconds)
        finally:
            remove_tree(root)


def _step(shop: Workshop, unit: Unit, step: Level, installed: InstalledRoot, scratch: Path) -> Verdict:
    cell = unit.cell
    assert cell is not None  # noqa: S101  only cells come here
    if step is Level.INSTALL:
        return qualify_install(cell, installed)
    if step is Level.BOOT:
        return qualify_boot(cell, installed, timeout=_BOOT_TIMEOUT, scratch=scratch)
    certificate = shop.signing.certificate
    if certificate is None:
        return unsigned_verdict(cell, "this run signs no modules (--module-cert)")
    return qualify_secureboot(cell, installed, certificate.der, timeout=_BOOT_TIMEOUT, scratch=scratch)


def _keep(tmp: Path, logs: Path) -> None:
    """The logs of a failed qualification, as evidence."""
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    for log in (*tmp.glob("*.log"), *tmp.glob("*/*.log")):
        shutil.copyfile(log, logs / log.name)
