"""Which GPUs the streams of a publication drive, and what hosts of the former one would lose."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from builder.fetch.gpus import parse_gpus
from builder.model.cells import PackageKind
from builder.model.matrix import Distribution, Driver
from builder.model.planning import StreamPlan
from builder.model.report import SupportGpus
from builder.model.sources import Gpu
from builder.pipeline.units import artifacts_of, earlier_result
from builder.pipeline.workshop import Workshop, known
from builder.report import GPUS_FILE, gpus_file, lost_gpus, stream_gpus
from builder.tools.rpms import extract_members

_NAMED = 5  # GPUs in a line
_INSTALLED = "/usr/share/nvidia/supported-gpus.json"


def gpus_of(shop: Workshop, plan: StreamPlan, arch: str) -> SupportGpus | None:
    """What a stream drives by the list of its newest driver; None where it has no driver or that has no list here."""
    if not plan.drivers:
        return None
    newest = plan.drivers[-1]
    branches = {branch.name for branch in shop.configuration.matrix.branches}
    return stream_gpus(newest.version, plan.stream.flavor, _list_of(shop, newest, arch), branches)


def _list_of(shop: Workshop, driver: Driver, arch: str) -> Sequence[Gpu]:
    """A driver's own list; where its archive cannot be had in this run, the copy in its packages, which are reused."""
    sources = known(shop.facts.sources.get((driver.version, arch)))
    if sources is not None:
        return sources.gpus
    for unit in shop.configuration.units:
        if (unit.kind, unit.driver, unit.arch) != (PackageKind.DRIVER, driver, arch):
            continue
        earlier = earlier_result(shop, unit, "its packages")
        for package in artifacts_of([earlier]) if earlier is not None else ():
            data = extract_members(package.path, (_INSTALLED,)).get(_INSTALLED)
            if data is not None:
                return parse_gpus(data.decode(errors="replace"), str(package.nevra))
    return ()


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
