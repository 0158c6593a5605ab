"""Build what says what the streams are, once that is known.

For each driver × flavor × way of delivery that a stream carries the gate: which kernels; for each stream of a
distribution without modules its release package: which stream.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.errors import RenderError
from builder.model.cells import Action, Decision, PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Distribution, Driver, Flavor
from builder.model.planning import StreamPlan, UnitOutcome
from builder.pipeline.releases import render_late, repository_releases
from builder.pipeline.specs import Job, make_job
from builder.pipeline.units import earlier_result, run_jobs
from builder.pipeline.workshop import Workshop
from builder.plan.actions import content_digest
from builder.plan.streams import belongs, plan_streams
from builder.plan.units import gate_unit, release_unit, stream_units


def gate_kernels(
    distribution: Distribution, arch: str, driver: Driver, flavor: Flavor, outcomes: Sequence[UnitOutcome]
) -> tuple[GateKernel, ...]:
    """Every kernel of a distribution × arch with the kmod that a driver × flavor has for it, or None."""
    kmods = {
        outcome.unit.cell.kernel.release: outcome.result.artifacts[0]
        for outcome in outcomes
        if outcome.unit.cell is not None  # each gate asks it of all units, so cheap questions first
        and outcome.unit.flavor is flavor
        and outcome.unit.driver.version == driver.version
        and outcome.ok
        and outcome.result is not None
        and outcome.unit.driver == driver
        and outcome.unit.distribution == distribution
    }
    return tuple(
        GateKernel(kernel=kernel, kmod=kmod.nevra if kmod else None, rpm=kmod)
        for kernel in distribution.kernels
        if kernel.arch == arch
        for kmod in (kmods.get(kernel.release),)
    )


def build_gates(
    shop: Workshop, distribution: Distribution, arch: str, outcomes: Mapping[str, UnitOutcome]
) -> tuple[tuple[StreamPlan, ...], dict[str, UnitOutcome]]:
    """Plan the streams of a distribution × arch and build the gates they need.

    Returns the streams, with drivers whose gate failed held back, and the outcomes with the gates' added.
    """
    known = list(outcomes.values())
    streams = plan_streams(shop.configuration.matrix, distribution, arch, known)
    gates = build_late(shop, _gate_units(distribution, arch, streams, known))
    streams = tuple(_without_gateless(plan, gates) for plan in streams)
    return streams, {**outcomes, **gates}


def late_units(shop: Workshop, outcomes: Mapping[str, UnitOutcome]) -> dict[Unit, tuple[GateKernel, ...]]:
    """Every gate (with its kernels) and release package that a publication of these outcomes has.

    Where streams stand in package names, all packages of the streams.
    """
    found: dict[Unit, tuple[GateKernel, ...]] = {}
    for distribution in shop.configuration.matrix.distributions:
        for arch in distribution.arches:
            known = [o for o in outcomes.values() if (o.unit.distribution, o.unit.arch) == (distribution, arch)]
            streams = plan_streams(shop.configuration.matrix, distribution, arch, known)
            if distribution.plain:
                for units in named_units(distribution, arch, streams, known).values():
                    found |= units
                continue
            found |= _gate_units(distribution, arch, streams, known)
            found |= dict.fromkeys(_release_units(distribution, streams, known).values(), ())
            found |= dict.fromkeys(repository_releases(shop, distribution, known) if _carried(streams) else (), ())
    return found


def _gate_units(
    distribution: Distribution, arch: str, streams: Sequence[StreamPlan], known: Sequence[UnitOutcome]
) -> dict[Unit, tuple[GateKernel, ...]]:
    units: dict[Unit, tuple[GateKernel, ...]] = {}
    for plan in streams:
        for driver in plan.drivers:
            unit = gate_unit(_base(known, driver), plan.stream.flavor, plan.stream.kmods)
            units[unit] = gate_kernels(distribution, arch, driver, plan.stream.flavor, known)
    return units


def named_units(
    distribution: Distribution, arch: str, streams: Sequence[StreamPlan], known: Sequence[UnitOutcome]
) -> dict[tuple[str, str], dict[Unit, tuple[GateKernel, ...]]]:
    """Where streams stand in package names: by stream and driver version its packages, some with their kernels."""
    found = {}
    for plan in streams:
        for driver in plan.drivers:
            members = [o.unit for o in known if o.unit.driver == driver and belongs(o.unit, plan.stream)]
            kernels = gate_kernels(distribution, arch, driver, plan.stream.flavor, known)
            found[plan.stream.name, driver.version] = {
                unit: kernels if unit.kind in (PackageKind.GATE, PackageKind.STREAM_KMODS) else ()
                for unit in stream_units(plan.stream, members)
            }
    return found


def _release_units(
    distribution: Distribution, streams: Sequence[StreamPlan], known: Sequence[UnitOutcome]
) -> dict[str, Unit]:
    """By stream, where there are no modules."""
    if distribution.delivery is not Delivery.BRANCH_REPOS:
        return {}
    return {p.stream.name: release_unit(_base(known, p.drivers[-1]), p.stream) for p in streams if p.drivers}


def build_releases(
    shop: Workshop, distribution: Distribution, streams: tuple[StreamPlan, ...], outcomes: Mapping[str, UnitOutcome]
) -> tuple[tuple[StreamPlan, ...], dict[str, UnitOutcome]]:
    """Build the package that selects each stream; where they are module streams, the one that brings the repository.

    Returns the streams, held back where theirs failed, and the outcomes with the new ones added.
    """
    if distribution.delivery is Delivery.MODULAR:
        return streams, {**outcomes, **_build_repository_release(shop, distribution, streams, outcomes)}
    if distribution.delivery is not Delivery.BRANCH_REPOS:
        return streams, dict(outcomes)
    units = _release_units(distribution, streams, list(outcomes.values()))
    releases = build_late(shop, dict.fromkeys(units.values(), ()))
    made = {name: releases[unit.id] for name, unit in units.items()}
    return tuple(_with_release(plan, made.get(plan.stream.name)) for plan in streams), {**outcomes, **releases}


def _carried(streams: Sequence[StreamPlan]) -> bool:
    return any(plan.drivers for plan in streams)


def _build_repository_release(
    shop: Workshop, distribution: Distribution, streams: Sequence[StreamPlan], outcomes: Mapping[str, UnitOutcome]
) -> dict[str, UnitOutcome]:
    """By its id; nothing where it cannot be made, which is told. What was published of it before stays."""
    known = list(outcomes.values())
    if not _carried(streams):
        return {}
    if shop.settings.base_url is None:
        text = "not made: --base-url, which says where hosts find the repository, was not given; a published one stays"
        shop.tell("release", f"{distribution.name}/{known[0].unit.arch}", "warning", f"nvidia-driver-release {text}")
    made = build_late(shop, dict.fromkeys(repository_releases(shop, distribution, known), ()))
    for outcome in made.values():
        if not outcome.ok:
            shop.tell("release", outcome.unit.id, "warning", f"{outcome.reason}; the published one stays")
    return made


def _with_release(plan: StreamPlan, release: UnitOutcome | None) -> StreamPlan:
    if release is None or release.ok:
        return plan
    lost = tuple((driver.version, f"no release package: {release.reason}") for driver in plan.drivers)
    return StreamPlan(stream=plan.stream, drivers=(), held=(*plan.held, *lost))


def _base(known: Sequence[UnitOutcome], driver: Driver) -> Unit:
    """The driver's own unit; the outcomes are those of one distribution × arch."""
    return next(o.unit for o in known if (o.unit.kind, o.unit.driver) == (PackageKind.DRIVER, driver))


def build_late(shop: Workshop, units: Mapping[Unit, tuple[GateKernel, ...]]) -> dict[str, UnitOutcome]:
    """Build units that are known only now, with the kernels that some of them name; outcomes by unit id."""
    jobs: dict[str, Job] = {}
    actions: list[Action] = []
    done: dict[str, UnitOutcome] = {}
    for unit, kernels in units.items():
        try:
            if (released := _released(shop, unit)) is not None:
                done[unit.id] = released
                continue
            job = make_job(shop, unit, record=True, kernels=kernels)
        except RenderError as exc:  # of this unit alone
            actions.append(Action(unit=unit, decision=Decision.BLOCKED, reason=exc.message, hint=exc.hint))
            continue
        if job is not None:
            jobs[unit.id] = job
            reason = f"{unit.kind.value} of this run"
            actions.append(Action(unit=unit, decision=Decision.BUILD, reason=reason, key=job.key))
        elif (earlier := _unchanged(shop, unit, kernels)) is not None:
            done[unit.id] = earlier
        else:
            reason = "its sources or buildroot are not known"
            actions.append(Action(unit=unit, decision=Decision.BLOCKED, reason=reason))
    return done | run_jobs(shop, actions, jobs)


def _released(shop: Workshop, unit: Unit) -> UnitOutcome | None:
    """The repository's release package as it was released, while it says the same: whatever else changed.

    Not what said so before it said something else: hosts would not go back to that.
    """
    if not unit.of_repository:
        return None
    content = content_digest(render_late(shop, unit, 1))
    found = earlier_result(shop, unit, "reused", content=content)
    serial = shop.store.serials.peek(unit.scope, content)
    return found if found is not None and found.result is not None and found.result.serial == serial else None


def _unchanged(shop: Workshop, unit: Unit, kernels: tuple[GateKernel, ...]) -> UnitOutcome | None:
    """What was built before and says the same: enough where the driver's sources or buildroot are not to be had."""
    if unit.kind not in (PackageKind.GATE, PackageKind.RELEASE) or unit.of_repository:
        return None  # what it says cannot be known without its sources
    content = content_digest(render_late(shop, unit, 1, kernels))
    return earlier_result(shop, unit, "reused", content=content)


def _without_gateless(plan: StreamPlan, gates: Mapping[str, UnitOutcome]) -> StreamPlan:
    ready = {
        o.unit.driver.version
        for o in gates.values()
        if o.ok and o.unit.flavor is plan.stream.flavor and o.unit.kmods is plan.stream.kmods
    }
    failed = {o.unit.driver.version: o.reason for o in gates.values() if not o.ok}
    kept = tuple(d for d in plan.drivers if d.version in ready)
    lost = tuple((d.version, f"no gate: {failed.get(d.version)}") for d in plan.drivers if d not in kept)
    return StreamPlan(stream=plan.stream, drivers=kept, held=(*plan.held, *lost))
