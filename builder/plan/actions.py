"""Decide what happens with each unit. Same key in the store: reuse; nothing else decides."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence

from builder.model.cells import Action, Decision, Unit
from builder.model.keys import KeyParts
from builder.model.matrix import Chroot, Distribution
from builder.model.planning import Excluded, UnitState
from builder.model.sources import SpecFile
from builder.plan.units import kmod_unit

KEY_FORMAT = 1


def unit_parts(
    spec: SpecFile,
    *,
    distribution: Distribution,
    chroot: Chroot,
    buildroot_identity: str,
    devel_sha256: str | None,
    source_date_epoch: int,
    recipe: str,
    parts: Mapping[str, str] | None = None,
) -> KeyParts:
    """Everything that can change a unit's bytes.

    ``recipe`` names the builder's own way of calling rpmbuild; ``devel_sha256`` is the kernel-devel RPM's digest for
    kmods, None for the rest; ``parts`` is what else the unit is made of, by name.
    """
    return KeyParts(
        spec=spec.text,
        sources=tuple(sorted((s.filename, s.sha256) for s in spec.sources)),
        buildroot=buildroot_identity,
        devel=devel_sha256,
        macros=chroot.macros,
        dist=distribution.dist_tag,
        payload=distribution.payload,
        epoch=source_date_epoch,
        recipe=recipe,
        parts=tuple(sorted((parts or {}).items())),
    )


def key_of(parts: KeyParts) -> str:
    """The digest of a key's parts: 64 hex digits."""
    document = {
        "format": KEY_FORMAT,
        "spec": parts.spec,
        "sources": parts.sources,
        "buildroot": parts.buildroot,
        "devel": parts.devel,
        "macros": parts.macros,
        "dist": parts.dist,
        "payload": parts.payload,
        "epoch": parts.epoch,
        "recipe": parts.recipe,
        **({"parts": dict(parts.parts)} if parts.parts else {}),
    }
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def content_digest(spec: SpecFile) -> str:
    """Digest of a spec and its sources; tells whether a gate says something new."""
    document = {"spec": spec.text, "sources": sorted((s.filename, s.sha256) for s in spec.sources)}
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def plan_actions(states: Sequence[UnitState], excluded: Iterable[Excluded] = ()) -> tuple[Action, ...]:
    """One action a unit, in the order given, then one SKIP a cell that a rule excludes."""
    actions = [_decide(state) for state in states]
    actions.extend(
        Action(unit=kmod_unit(e.cell), decision=Decision.SKIP, reason=f"excluded: {e.reason}") for e in excluded
    )
    return tuple(actions)


def _decide(state: UnitState) -> Action:
    def action(decision: Decision, reason: str, hint: str | None = None) -> Action:
        return Action(unit=state.unit, decision=decision, reason=reason, key=state.key, hint=hint)

    if state.stored:
        return action(Decision.REUSE, "built before from the same spec, sources, kernel-devel and buildroot")
    if not state.selected:
        return action(Decision.SKIP, "not selected")
    if state.blocked:
        return action(Decision.BLOCKED, state.blocked, state.hint)
    if state.last_failure:
        return action(Decision.BUILD, f"failed before: {state.last_failure}")
    if state.missing:
        return action(Decision.BUILD, f"not built yet ({state.missing})")
    if state.earlier:
        return action(Decision.BUILD, "spec, sources, kernel-devel or buildroot changed since the last build")
    return action(Decision.BUILD, "not built yet")


def by_unit(actions: Iterable[Action]) -> Mapping[str, Action]:
    """Actions by unit id."""
    return {action.unit.id: action for action in actions}


def describe(unit: Unit) -> str:
    """A unit in words, for people."""
    if unit.cell is not None:
        kernel = unit.cell.kernel
        return f"{unit.driver.version} {unit.cell.flavor} for {kernel.release} ({unit.distribution.name})"
    return f"{unit.kind} {unit.driver.version} ({unit.distribution.name} {unit.arch})"
