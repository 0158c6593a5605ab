"""One cell's or package's story: what was decided, what its key is made of, and which input made it another one."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from difflib import get_close_matches

from builder.errors import RenderError, SelectionError, StoreError
from builder.model.cells import Action, BuildResult, Decision, Unit
from builder.model.gate import GateKernel
from builder.model.keys import Inputs
from builder.pipeline.events import Listener
from builder.pipeline.gates import late_units
from builder.pipeline.integrity import told_keys
from builder.pipeline.matrix import open_workshop, plan_units
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job, inputs_of, make_job
from builder.pipeline.units import run_units
from builder.pipeline.verdicts import read_verdict
from builder.pipeline.workshop import Workshop
from builder.plan.changes import describe_changes, nearest
from builder.store import Attempt, read_inputs

_MOST = 8  # results of other units that are compared


@dataclass(frozen=True, slots=True, kw_only=True)
class _Subject:
    """A unit, what is decided of it, and with which kernels (of gates) it is rendered now."""

    action: Action
    kernels: tuple[GateKernel, ...] = ()


def explain(settings: Settings, unit_id: str, listener: Listener) -> dict[str, object]:
    """Everything known of one unit, in reading order; raises SelectionError with near names when there is none."""
    shop = open_workshop(settings, listener, exclusive=False)
    with shop.store:
        look_at_all(shop)
        shop.facts.keys.extend(told_keys(shop.settings, shop.configuration.matrix.integrity, None))
        actions = plan_units(shop)
        subjects = {a.unit.id: _Subject(action=a) for a in actions}
        if unit_id not in subjects:
            subjects |= _late(shop, actions)
        if unit_id not in subjects:
            near = get_close_matches(unit_id, subjects, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else "repobuild plan lists them"
            raise SelectionError(f"{unit_id}: no such cell or package in this matrix", hint=hint)
        return _story(shop, subjects[unit_id])


def _late(shop: Workshop, actions: tuple[Action, ...]) -> dict[str, _Subject]:
    """Gates and release packages as what is in the store now would make them."""
    outcomes = run_units(shop, actions, build=False, check=False)
    found = {}
    for unit, kernels in late_units(shop, outcomes).items():
        try:
            job = make_job(shop, unit, record=False, kernels=kernels)
        except RenderError as exc:  # of this unit alone
            found[unit.id] = _Subject(action=Action(unit=unit, decision=Decision.BLOCKED, reason=exc.message))
            continue
        built = job is not None and shop.store.folder("results", job.key) is not None
        action = Action(
            unit=unit,
            decision=Decision.REUSE if built else Decision.BUILD,
            reason="says what the store's cells make it say" if built else "would say something new",
            key=job.key if job else None,
        )
        found[unit.id] = _Subject(action=action, kernels=kernels)
    return found


def _story(shop: Workshop, subject: _Subject) -> dict[str, object]:
    action = subject.action
    unit = action.unit
    document: dict[str, object] = {
        "id": unit.id,
        "decision": action.decision.value,
        "reason": action.reason,
    }
    if action.hint:
        document["next"] = action.hint
    if unit.cell is not None:
        kernel = unit.cell.kernel
        document["driver"] = f"{unit.driver.version} ({unit.driver.branch}, {unit.flavor}), {unit.driver.read_from}"
        document["kernel"] = f"{kernel.core}, {kernel.devel}, read from {kernel.read_from}"
        document["compiler"] = f"{kernel.compiler.command} (package {kernel.compiler.package})"
    if subject.kernels:
        document["kernels"] = [f"{k.kernel.release}: {k.kmod or 'none'}" for k in subject.kernels]
    blocked = action.decision is Decision.BLOCKED
    job = None if blocked else make_job(shop, unit, record=False, kernels=subject.kernels)
    if job is not None:
        document["key"] = job.key
        document["made of"] = [
            f"spec {job.spec.filename}",
            *(f"source {s.filename} {s.sha256}" for s in job.spec.sources),
            *([f"modules {job.modules.key}, signer {shop.signing.identity}"] if job.modules else []),
            *(f"source {s.filename} {s.sha256}" for s in (job.modules.spec.sources if job.modules else ())),
            f"buildroot {job.buildroot.identity}",
            *([f"kernel-devel {job.devel.sha256}"] if job.devel else []),
        ]
        document |= _changes(shop, unit, job, subject.kernels)
        compiled = shop.store.folder("modules", job.modules.key) if job.modules else None
        if compiled is not None:
            document["compiled"] = str(compiled)
        # Nothing was built under this key (with other options, then): the newest build tells more than nothing.
        keys = [job.key, *shop.store.ledger.keys_of(unit.scope)]
        result = next((found for key in keys if (found := shop.store.result(key)) is not None), None)
        if result is not None:
            if result.key != job.key:
                document["shown"] = f"the newest build, of key {result.key}"
            document["result"] = [str(a.nevra) for a in result.artifacts]
            document["built in"] = f"{result.seconds:.0f} s"
            document["logs"] = str(result.folder)
            verdicts = [read_verdict(text) for text in shop.store.ledger.verdicts_of(result.key)]
            if verdicts:
                document["checks"] = [
                    f"{c.outcome}: {v.level}: {c.name}: {'; '.join(c.evidence[: None if c.outcome == 'failed' else 3])}"
                    for v in verdicts
                    for c in v.checks
                ]
    failure = shop.store.ledger.failure(unit.scope)
    attempts = shop.store.ledger.history.attempts(unit.id)
    if attempts:
        document["attempts"] = [_attempt_line(attempt) for attempt in attempts]
    if failure is not None:
        document["failed"] = [f"{failure.stage}: {failure.message}", *failure.details]
        document["log"] = str(failure.log)
    return document


def _changes(shop: Workshop, unit: Unit, job: Job, kernels: tuple[GateKernel, ...]) -> dict[str, object]:
    """Which inputs are others than those of the newest result, and of the nearest one besides it."""
    keys = [key for key in shop.store.ledger.keys_of(unit.scope) if key != job.key]
    earlier = [found for key in keys if (found := _result(shop, key)) is not None]
    document: dict[str, object] = {}
    if earlier:
        newest = read_inputs(earlier[0].folder)
        document["compared"] = f"with the build of {_date(shop, earlier[0])}, key {earlier[0].key[:12]}"
        document["changed"] = (
            ["what it was made from was not recorded: an earlier repobuild built it"]
            if newest is None
            else list(_differences(shop, job, newest, kernels)) or ["nothing: the key is made in another way now"]
        )
    others = [i for r in earlier[1:_MOST] if (i := read_inputs(r.folder)) is not None]
    others = others or ([] if earlier else _of_other_units(shop, unit))
    now = inputs_of(shop, job, kernels=kernels)
    if (other := nearest(now, others)) is not None:
        lines = _differences(shop, job, other, kernels)
        document["nearest"] = [
            f"{other.unit_id}, release {other.serial}: {len(lines) or 'no'} differences",
            *(line for line in lines if not line.startswith("  ")),
        ]
    return document


def _differences(shop: Workshop, job: Job, old: Inputs, kernels: tuple[GateKernel, ...]) -> tuple[str, ...]:
    """Rendered with the old one's serial, as a new serial follows from the change and is none of its reasons."""
    return describe_changes(old, inputs_of(shop, job, serial=old.serial, kernels=kernels))


def _of_other_units(shop: Workshop, unit: Unit) -> list[Inputs]:
    """What results of the same kind of package were made from, those with the most of the unit's coordinates first."""
    mine = unit.scope.split("/")

    def alike(scope: str) -> int:
        theirs = scope.split("/")
        same = sum(a == b for a, b in zip(mine, theirs, strict=False))
        return same if theirs[:3] == mine[:3] and len(theirs) == len(mine) else -1

    found: list[Inputs] = []
    for scope in sorted(shop.store.ledger.scopes(), key=lambda s: (-alike(s), s)):
        if alike(scope) < 0 or len(found) == _MOST:
            break
        results = (_result(shop, key) for key in shop.store.ledger.keys_of(scope)[:1])
        found += (i for r in results if r is not None and (i := read_inputs(r.folder)) is not None)
    return found


def _result(shop: Workshop, key: str) -> BuildResult | None:
    try:
        return shop.store.result(key)
    except StoreError:  # a run tells it; there is nothing to compare with
        return None


def _date(shop: Workshop, result: BuildResult) -> str:
    finished = shop.store.ledger.finished(result.key) or 0.0
    return datetime.fromtimestamp(finished, UTC).isoformat(sep=" ", timespec="minutes")


def _attempt_line(attempt: Attempt) -> str:
    when = datetime.fromtimestamp(attempt.happened, UTC).isoformat(timespec="seconds")
    then = f"tried again after {attempt.wait:g} s" if attempt.wait else "given up"
    return f"{when} {attempt.stage}, attempt {attempt.number}: {attempt.message}: {then}"
