"""A run of 10,000 cells, in a process of its own: what the orchestrator needs of memory from plan to summary.

``python -m benchmarks.large_run WORK KERNELS BRANCHES`` does it over a work folder of ``scale_work finish``.
"""

from __future__ import annotations

import json
import resource
import sys
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from benchmarks.scale import CELLS, work
from builder.cli.watch import Watch
from builder.model.cells import PackageKind
from builder.model.run import DistributionReport, RunReport
from builder.pipeline.matrix import plan_units
from builder.pipeline.report import support_facts
from builder.pipeline.units import artifacts_of, run_units
from builder.plan.streams import plan_streams
from builder.report import support_files
from builder.tools.run import run
from tests.tools.big_site import big_matrix, big_site
from tests.tools.many_rpms import make_many, make_template


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    rpm = make_many(make_template(tmp / "template"), tmp / "rpms", [1])[0]
    sizes = [str(size) for size in CELLS]
    work("finish", Clock(), tmp / "work", *sizes, rpm)

    def ours(_folder: Path, clock: Clock) -> Collection[str]:
        argv = [sys.executable, "-m", "benchmarks.large_run", str(tmp / "work"), *sizes]
        said = json.loads(run(argv, timeout=1800, cwd=Path(__file__).parents[1]).stdout)
        clock.add(said["seconds"], said["cpu"], said["peak"])
        if said["events"] < said["cells"]:
            raise BenchmarkError(f"{said['events']} events of {said['cells']} cells")
        return [f"{name}: {said[name]}" for name in ("cells", "units", "artifacts", "support")]

    return Sides(ours=ours, peer=None)


def main(place: Path, kernels: int, branches: int) -> dict[str, object]:
    """A run but fetching, building, publishing: every outcome, its events, support matrix, metrics, summary."""
    clock = Clock()
    events, summary, metrics = (place / name for name in ("events.jsonl", "summary.md", "metrics.prom"))
    events.unlink(missing_ok=True)
    with (
        clock.timed(),
        big_site(place, big_matrix(kernels, branches)) as quiet,
        Watch(Console(stderr=True), events=events, summary=summary, metrics=metrics) as watch,
    ):
        shop = replace(quiet, listener=watch)
        actions = plan_units(shop)
        outcomes = run_units(shop, actions)
        (distribution,) = shop.configuration.matrix.distributions
        streams = plan_streams(shop.configuration.matrix, distribution, "x86_64", tuple(outcomes.values()))
        facts = support_facts(shop, distribution, "x86_64", streams, outcomes)
        support = support_files(facts)
        artifacts = artifacts_of(tuple(outcomes.values()))
        report = RunReport(
            actions=actions,
            outcomes=tuple(outcomes.values()),
            excluded=shop.configuration.excluded,
            distributions=(
                DistributionReport(distribution=distribution, arch="x86_64", streams=streams, publication=None),
            ),
        )
        watch.finish(report, [], None)
    return {
        "seconds": clock.seconds,
        "cpu": clock.cpu,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "cells": sum(outcome.unit.kind is PackageKind.KMOD for outcome in outcomes.values()),
        "units": len(outcomes),
        "artifacts": len(artifacts),
        "support": [name for name, data in support if data],
        "events": len(events.read_text().splitlines()),
    }


LARGE_RUN = Benchmark(
    name="run-10000",
    work="10,000 finished cells: planned, taken from the store, as events, support matrix, metrics, summary",
    peer="none",
    note="A run with nothing to do, without reading matrix.yaml, fetching, publishing; all outcomes are held at once.",
    prepare=_prepare,
    target=Target(peak=500 * 1_000_000),
)

if __name__ == "__main__":
    sys.stdout.write(json.dumps(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]))))
