"""Build and qualify units: each on its own, the rest unharmed when one fails."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path

from builder.build.memory import spare_memory
from builder.errors import BuildTimeoutError, InterruptedRunError, QualifyError, RepobuildError, ToolTimeoutError
from builder.model.cells import Action, Artifact, BuildResult, Decision, PackageKind, Unit, Verdict
from builder.model.levels import Level
from builder.model.planning import UnitOutcome
from builder.pipeline.events import Event
from builder.pipeline.modules import (
    compile_modules,
    firmware_files,
    object_files,
    packed_sources,
    rpmbuild,
)
from builder.pipeline.schedule import WHOLE, expect, kind_of, require_space_to_build, work_of
from builder.pipeline.specs import LATE, Job, inputs_of, make_job
from builder.pipeline.verdicts import read_verdict, verdict_document, verdict_key
from builder.pipeline.workers import Expected, current_slot, run_all
from builder.pipeline.workshop import Workshop
from builder.qualify import qualify_kmod, qualify_packages
from builder.store import Cost, Failure, write_inputs
from builder.tools.machine import available_memory
from builder.tools.rpms import read_artifact

LEVEL = Level.STATIC


def run_units(
    shop: Workshop, actions: Sequence[Action], *, build: bool = True, check: bool = True
) -> dict[str, UnitOutcome]:
    """Carry out actions: build what is to be built, take the rest from the store, qualify all.

    ``build`` False leaves unbuilt what is not in the store; ``check`` False leaves new results unqualified.

    Returns the outcome of every unit by id. A unit whose newest content could not be built keeps its last good
    result, so that nothing published before is lost; its outcome says so.
    """
    jobs: dict[str, Job] = {}
    for action in actions:
        if (
            build
            and action.decision is Decision.BUILD
            and (job := make_job(shop, action.unit, record=True)) is not None
        ):
            jobs[action.unit.id] = job
    return run_jobs(shop, actions, jobs, check=check)


def compiles(shop: Workshop, action: Action) -> bool:
    """Would this action compile a cell?"""
    return action.decision is Decision.BUILD and action.unit.cell is not None and shop.settings.compile


def run_jobs(
    shop: Workshop, actions: Sequence[Action], jobs: Mapping[str, Job], *, check: bool = True
) -> dict[str, UnitOutcome]:
    """As ``run_units``, with the jobs made already: the longest first, as many at a time as memory allows.

    Raises DiskFullError before the first build where there is no room for it.
    """
    require_space_to_build(shop, len(jobs))
    expected = expect(shop, jobs)
    for unit_id, cost in expected.items():
        shop.listener(Event(stage="build", subject=unit_id, state="queued", expected=cost.seconds))
    tasks = {i: partial(_build_and_qualify, shop, jobs[i], expected[i], check=check) for i in expected}
    away = [] if shop.farm is None else [i for i, job in jobs.items() if job.modules and work_of(shop, job) == WHOLE]
    reused = {a.unit.id: verdict_key(a.key) for a in actions if a.decision is Decision.REUSE and a.key}
    recorded = shop.store.ledger.verdicts(list(reused.values()), LEVEL)
    for action in actions if check else ():  # results that come from another machine were checked there only
        if action.key and action.unit.id in reused and reused[action.unit.id] not in recorded:
            tasks[action.unit.id] = partial(_reused, shop, action.unit, action.key, None, check=check)
    failures = run_all(
        tasks,
        workers=_at_once(shop, expected, away),
        fail_fast=shop.settings.fail_fast,
        # What is compiled elsewhere takes no memory here, and its time begins when a worker takes it.
        expected={i: replace(e, memory=0, limit=None) if i in away else e for i, e in expected.items()},
        memory=available_memory() - spare_memory(),  # the other half is what builds work in
        say=partial(shop.tell, "schedule", "builds", "warning"),
    )
    outcomes: dict[str, UnitOutcome] = {}
    for action in actions:
        unit = action.unit
        done = failures.get(unit.id)
        if isinstance(done, UnitOutcome):
            outcomes[unit.id] = done
        elif action.decision is Decision.REUSE and action.key:
            outcomes[unit.id] = _reused(shop, unit, action.key, recorded.get(verdict_key(action.key)), check=check)
        else:
            reason = done.message if isinstance(done, RepobuildError) else action.reason
            code = done.code if isinstance(done, RepobuildError) else None
            outcomes[unit.id] = _kept(shop, unit, reason, code)
    return outcomes


def _at_once(shop: Workshop, expected: Mapping[str, Expected], away: Sequence[str]) -> int:
    """Tasks at the same time: as many as work here, and what workers elsewhere are given, so that none is ever idle."""
    here = shop.settings.workers
    if shop.farm is None or not away:
        return here
    shop.farm.expect({i: expected[i] for i in away})
    slots = shop.farm.await_workers()
    # One waits at each worker while one is compiled: what came back is packed and signed here before the next is sent.
    return here + (shop.settings.jobs or 2 * slots)


def _build_and_qualify(shop: Workshop, job: Job, expected: Expected, *, check: bool) -> UnitOutcome:
    with nullcontext() if shop.farm is None else shop.farm.turn():
        return _in_turn(shop, job, expected, check=check)


def _in_turn(shop: Workshop, job: Job, expected: Expected, *, check: bool) -> UnitOutcome:
    unit = job.unit
    stage = "build"
    started = time.monotonic()
    try:
        result = shop.store.result(job.key)
        done = "built" if result is None else "reused"
        if result is None:
            work = work_of(shop, job)
            shop.listener(Event(stage="build", subject=unit.id, state="started", expected=expected.seconds))
            result = _build(shop, job)
            slot = current_slot()
            seconds = time.monotonic() - started - (slot.waited if slot else 0.0)
            _remember_cost(shop, unit, work, seconds)
            where = f", compiled by {slot.where}" if slot and slot.where else ""
            shop.tell("build", unit.id, "done", f"{len(result.artifacts)} RPMs{where}", seconds)
        else:
            shop.tell("build", unit.id, "reused")
        stage = "qualify"
        verdict = qualify(shop, unit, result, job) if check else None
    except RepobuildError as exc:
        error = _out_of_time(unit, exc)
        shop.tell(stage, unit.id, "failed", error.message, time.monotonic() - started, code=error.code)
        if not isinstance(error, InterruptedRunError):  # says nothing of the unit
            _remember(shop, job, stage, error)
        if error is exc:
            raise
        raise error from exc
    good = verdict is None or verdict.ok
    reason = done if verdict is None or verdict.ok else verdict.reason
    return UnitOutcome(unit=unit, result=result, verdict=verdict, reason=reason, code=None if good else "qualify")


def _out_of_time(unit: Unit, error: RepobuildError) -> RepobuildError:
    """Whatever ran when a unit's time was up: a failure of the unit, with the last lines of what was stopped."""
    slot = current_slot()
    timed_out = isinstance(error, ToolTimeoutError | BuildTimeoutError)
    if slot is None or not timed_out or not slot.supervision.expired:
        return error
    return BuildTimeoutError(
        f"{unit.id}: was not done after {slot.supervision.limit:g} s and was stopped with all its processes",
        details=error.details,
        hint="if it only needs more time, give it more: --cell-timeout, or cell_timeout in matrix.yaml",
        log=error.log,
    )


def _remember_cost(shop: Workshop, unit: Unit, work: str, seconds: float) -> None:
    """What the next runs' schedule learns from."""
    slot = current_slot()
    cost = Cost(
        unit_id=unit.scope,
        work=work,
        kind=kind_of(unit),
        seconds=round(seconds, 2),
        memory=slot.supervision.peak if slot else 0,
        jobs=slot.jobs if slot else 0,
        finished=time.time(),
    )
    shop.store.ledger.history.record_cost(cost)


def _remember(shop: Workshop, job: Job, stage: str, exc: RepobuildError) -> None:
    shop.store.ledger.record_failure(
        Failure(
            unit_id=job.unit.scope,
            key=job.key,
            stage=stage,
            code=exc.code,
            message=exc.message,
            details=exc.details,
            log=exc.log,
            happened=time.time(),
        )
    )


def _build(shop: Workshop, job: Job) -> BuildResult:
    """Build one job into the store; a kmod's modules are compiled first, unless they were before."""
    spec, compiling = job.spec, 0.0
    with shop.store.tmp() as tmp:
        if job.modules is not None:
            built = compile_modules(shop, job)
            compiling = built.seconds  # whenever that was: what the result cost
            parts = tmp / "parts"
            parts.mkdir()
            spec = replace(spec, sources=packed_sources(shop, job, built, parts))
        resultdir, seconds = rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, tmp)

        def fill(folder: Path) -> BuildResult:
            write_inputs(inputs_of(shop, job), folder)
            return _collect(job, resultdir, folder, compiling + seconds, signer_of(shop, job.unit))

        result = shop.store.add_result(job.key, job.unit.scope, compiling + seconds, fill)
    shutil.rmtree(shop.store.logs(job.unit.id), ignore_errors=True)  # of an attempt that failed
    return result


def _collect(job: Job, resultdir: Path, folder: Path, seconds: float, signer: str) -> BuildResult:
    """Move a resultdir's files into the result folder and describe them."""
    for file in sorted(resultdir.iterdir()):
        file.rename(folder / file.name)
    (folder / job.spec.filename).write_text(job.spec.text)
    artifacts = sorted((read_artifact(p) for p in folder.glob("*.rpm")), key=lambda a: str(a.nevra))
    sources = [a for a in artifacts if a.nevra.arch == "src" or a.path.name.endswith(".src.rpm")]
    return BuildResult(
        key=job.key,
        unit_id=job.unit.scope,
        artifacts=tuple(a for a in artifacts if a not in sources),
        source=sources[0] if sources else None,
        folder=folder,
        seconds=round(seconds, 1),
        serial=job.serial,
        content=job.content,
        source_date_epoch=job.sources.source_date_epoch,
        signer=signer,
    )


def qualify(shop: Workshop, unit: Unit, result: BuildResult, job: Job) -> Verdict:
    """Qualify a result, or read the verdict that was recorded of it."""
    recorded = shop.store.ledger.verdict(verdict_key(result.key), LEVEL)
    if recorded is not None:
        return read_verdict(recorded)
    shop.tell("qualify", unit.id, "started")
    started = time.monotonic()
    matrix = shop.configuration.matrix
    if unit.cell is not None and job.devel is not None:
        symvers = job.devel.symvers.read_bytes()
        verdict = qualify_kmod(
            unit.cell,
            result.artifacts,
            symvers,
            matrix,
            serial=job.serial,
            objects=object_files(job),
            certificate=shop.signing.certificate.pem if shop.signing.certificate else None,
            firmware=firmware_files(job),
        )
    else:
        verdict = qualify_packages(unit, result.artifacts, matrix, serial=job.serial)
    shop.store.ledger.record_verdict(verdict_key(result.key), LEVEL, ok=verdict.ok, document=verdict_document(verdict))
    seconds = time.monotonic() - started
    if verdict.ok:
        shop.tell("qualify", unit.id, "done", verdict.reason, seconds)
    else:
        shop.tell("qualify", unit.id, "failed", verdict.reason, seconds, code=QualifyError.code)
    return verdict


def _reused(shop: Workshop, unit: Unit, key: str, recorded: str | None, *, check: bool) -> UnitOutcome:
    result = shop.store.result(key)
    if result is not None and recorded is None and check:
        job = make_job(shop, unit, record=False)
        verdict = qualify(shop, unit, result, job) if job is not None else None
    else:
        verdict = read_verdict(recorded) if recorded else None
    shop.tell("build", unit.id, "reused")
    good = verdict is not None and verdict.ok
    if good or not check:
        return UnitOutcome(unit=unit, result=result, verdict=verdict, reason="reused")
    reason = verdict.reason if verdict else "not qualified yet"
    return UnitOutcome(unit=unit, result=result, verdict=verdict, reason=reason, code="qualify")


def _kept(shop: Workshop, unit: Unit, reason: str, code: str | None) -> UnitOutcome:
    """The last good result of a unit that this run did not build."""
    kept = None
    if unit.kind not in LATE:  # a gate of other kernels would promise the wrong ones
        kept = earlier_result(shop, unit, f"kept an earlier build: {reason}", code)
    return kept or UnitOutcome(unit=unit, result=None, verdict=None, reason=reason, code=code)


def signer_of(shop: Workshop, unit: Unit) -> str:
    """Who signed what a result of this unit holds, "" where nothing is signed: signers are never mixed."""
    signed = (PackageKind.KMOD, PackageKind.STREAM_KMODS, PackageKind.CERTIFICATE)
    return shop.signing.identity if unit.kind in signed or unit.of_repository else ""


def earlier_result(
    shop: Workshop, unit: Unit, reason: str, code: str | None = None, *, content: str | None = None
) -> UnitOutcome | None:
    """The newest good result of a unit (of that content, when one is given), None when there is none."""
    for key in shop.store.ledger.keys_of(unit.scope):
        recorded = shop.store.ledger.verdict(verdict_key(key), LEVEL)
        verdict = read_verdict(recorded) if recorded else None
        result = shop.store.result(key) if verdict is not None and verdict.ok else None
        if result is not None and content in (None, result.content) and result.signer == signer_of(shop, unit):
            return UnitOutcome(unit=unit, result=result, verdict=verdict, reason=reason, code=code)
    return None


def artifacts_of(outcomes: Sequence[UnitOutcome]) -> tuple[Artifact, ...]:
    """Binary RPMs of outcomes, each once, sorted by NEVRA."""
    found = {a.sha256: a for o in outcomes if o.result for a in o.result.artifacts}
    return tuple(sorted(found.values(), key=lambda a: str(a.nevra)))
