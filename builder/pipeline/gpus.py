"""Which GPUs the streams of a publication drive, and what hosts of the former one would lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.model.matrix import Distribution
from builder.model.planning import StreamPlan
from builder.model.report import SupportGpus
from builder.pipeline.workshop import Workshop, known
from builder.report import GPUS_FILE, gpus_file, lost_gpus, stream_gpus

_NAMED = 5  # GPUs in a line


def gpus_of(shop: Workshop, plan: StreamPlan, arch: str) -> SupportGpus | None:
    """What a stream drives by the list of its newest driver; None where it has no driver or that has no list here."""
    if not plan.drivers:
        return None
    newest = plan.drivers[-1]
    sources = known(shop.facts.sources.get((newest.version, arch)))
    branches = {branch.name for branch in shop.configuration.matrix.branches}
    return stream_gpus(newest.version, plan.stream.flavor, sources.gpus, branches) if sources is not None else None


def gpus_files(shop: Workshop, plans: Sequence[StreamPlan], arch: str) -> tuple[tuple[str, bytes], ...]:
    """``supported-gpus.json`` of a publication, nothing where no driver has a list."""
    found = _by_stream(shop, plans, arch)
    return ((GPUS_FILE, gpus_file(found)),) if found else ()


def tell_lost_gpus(shop: Workshop, distribution: Distribution, arch: str, plans: Sequence[StreamPlan]) -> None:
    """Say which GPUs a stream of the current publication drives and will not drive any more.

    It is told and nothing else: what a publication holds must not depend on the one before it.
    """
    path = shop.settings.repo_path / distribution.name / arch / GPUS_FILE
    if not path.is_file():
        return
    found = _by_stream(shop, plans, arch)
    for name, (before, names) in lost_gpus(path.read_bytes(), found).items():
        shown = ", ".join(names[:_NAMED]) + (", …" if len(names) > _NAMED else "")
        models = "1 GPU model" if len(names) == 1 else f"{len(names)} GPU models"
        text = f"{found[name].driver_version} drives {models} less than {before}: {shown}"
        shop.tell("gpus", f"{distribution.name}/{arch} {name}", "warning", text)


def _by_stream(shop: Workshop, plans: Sequence[StreamPlan], arch: str) -> Mapping[str, SupportGpus]:
    pairs = ((plan.stream.name, gpus_of(shop, plan, arch)) for plan in plans)
    return {name: gpus for name, gpus in pairs if gpus is not None}
