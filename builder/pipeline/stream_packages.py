"""Build the packages of streams that stand in package names, once the streams are known (ADR 0020).

Kmods and the packages around a driver were built and qualified before, as everywhere: that is how it is known which
drivers a stream can carry. What is published is made of the same sources under the stream's names, and of those kmods.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from builder.model.cells import Unit
from builder.model.matrix import Distribution
from builder.model.planning import StreamPlan, UnitOutcome
from builder.pipeline.gates import build_late, named_units
from builder.pipeline.workshop import Workshop
from builder.plan.streams import plan_streams


def is_published(unit: Unit) -> bool:
    """Whether a unit's packages can stand in a publication: not those that a stream's packages are made from."""
    return not unit.distribution.plain or unit.label is not None


def build_stream_packages(
    shop: Workshop, distribution: Distribution, arch: str, outcomes: Mapping[str, UnitOutcome]
) -> tuple[tuple[StreamPlan, ...], dict[str, UnitOutcome]]:
    """Plan the streams of a distribution × arch and build each one's packages for each of its drivers.

    Returns the streams, a driver held back where one of its packages failed, and the outcomes with the new ones added.
    """
    known = list(outcomes.values())
    streams = plan_streams(shop.configuration.matrix, distribution, arch, known)
    wanted = named_units(distribution, arch, streams, known)
    kernels = {unit: of for units in wanted.values() for unit, of in units.items()}
    made = build_late(shop, kernels)
    return tuple(_without_failed(plan, wanted, made) for plan in streams), {**outcomes, **made}


def _without_failed(
    plan: StreamPlan, wanted: Mapping[tuple[str, str], Iterable[Unit]], made: Mapping[str, UnitOutcome]
) -> StreamPlan:
    failed: dict[str, str] = {}
    for driver in plan.drivers:
        for unit in wanted[plan.stream.name, driver.version]:
            if not made[unit.id].ok:
                failed.setdefault(driver.version, f"no {unit.id.partition(':')[0]}: {made[unit.id].reason}")
    kept = tuple(driver for driver in plan.drivers if driver.version not in failed)
    return StreamPlan(stream=plan.stream, drivers=kept, held=(*plan.held, *failed.items()))
