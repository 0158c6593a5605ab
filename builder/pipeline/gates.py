"""Build the gates: for each driver × flavor × delivery that a stream carries, the package that says which kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.model.cells import Action, Decision, PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Distribution, Driver, Flavor
from builder.model.planning import StreamPlan, UnitOutcome
from builder.pipeline.specs import Job, make_job
from builder.pipeline.units import earlier_result, run_jobs
from builder.pipeline.workshop import Workshop
from builder.plan.actions import content_digest
from builder.plan.streams import plan_streams
from builder.plan.units import gate_unit
from builder.render import render_gate


def gate_kernels(
    distribution: Distribution, arch: str, driver: Driver, flavor: Flavor, outcomes: Sequence[UnitOutcome]
) -> tuple[GateKernel, ...]:
    """Every kernel of a distribution × arch with the kmod that a driver × flavor has for it, or None."""
    kmods = {
        outcome.unit.cell.kernel.release: outcome.result.artifacts[0].nevra
        for outcome in outcomes
        if outcome.ok
        and outcome.result is not None
        and outcome.unit.cell is not None
        and outcome.unit.driver == driver
        and outcome.unit.flavor is flavor
        and outcome.unit.distribution == distribution
    }
    return tuple(
        GateKernel(kernel=kernel, kmod=kmods.get(kernel.release))
        for kernel in distribution.kernels
        if kernel.arch == arch
    )


def build_gates(
    shop: Workshop, distribution: Distribution, arch: str, outcomes: Mapping[str, UnitOutcome]
) -> tuple[tuple[StreamPlan, ...], dict[str, UnitOutcome]]:
    """Plan the streams of a distribution × arch and build the gates they need.

    Returns the streams, with drivers whose gate failed held back, and the outcomes with the gates' added.
    """
    known = list(outcomes.values())
    streams = plan_streams(shop.configuration.matrix, distribution, arch, known)
    units: dict[str, Unit] = {}
    jobs: dict[str, Job] = {}
    gates: dict[str, UnitOutcome] = {}
    for plan in streams:
        for driver in plan.drivers:
            flavor, kmods = plan.stream.flavor, plan.stream.kmods
            base = next(
                o.unit
                for o in known
                if (o.unit.kind, o.unit.driver, o.unit.distribution, o.unit.arch)
                == (PackageKind.DRIVER, driver, distribution, arch)
            )
            unit = gate_unit(base, flavor, kmods)
            kernels = gate_kernels(distribution, arch, driver, flavor, known)
            units[unit.id] = unit
            job = make_job(shop, unit, record=True, kernels=kernels)
            if job is not None:
                jobs[unit.id] = job
            elif (earlier := _unchanged(shop, unit, kernels)) is not None:
                gates[unit.id] = earlier
                del units[unit.id]
    actions = [
        Action(unit=unit, decision=Decision.BUILD, reason="gate of this run", key=jobs[unit_id].key)
        if unit_id in jobs
        else Action(unit=unit, decision=Decision.BLOCKED, reason="its sources or buildroot are not known")
        for unit_id, unit in units.items()
    ]
    gates |= run_jobs(shop, actions, jobs)
    streams = tuple(_without_gateless(plan, gates) for plan in streams)
    return streams, {**outcomes, **gates}


def _unchanged(shop: Workshop, unit: Unit, kernels: tuple[GateKernel, ...]) -> UnitOutcome | None:
    """The gate built before that says the same: enough where its driver's sources or buildroot are not to be had."""
    signed = shop.signing.certificate is not None
    content = content_digest(render_gate(unit, kernels, 1, shop.configuration.matrix, signed=signed))
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
