"""``python -m benchmarks``: run them all or some, print a table, write JSON. Exit code 1 when work failed."""

from __future__ import annotations

import json
import os
import statistics
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.cell import LIGHT, LIGHT_DKMS, real_cells
from benchmarks.conftest import conftest_cells
from benchmarks.dask_cells import DASK_CELLS
from benchmarks.harness import Benchmark, Result, measure
from benchmarks.join import join_benchmarks
from benchmarks.large_run import LARGE_RUN
from benchmarks.many_cells import MANY_CELLS
from benchmarks.metadata import METADATA
from benchmarks.repeat import REPEAT
from benchmarks.repeat_large import REPEAT_LARGE
from benchmarks.scale import MAKECACHE, METADATA_UPDATE, PLAN, PUBLISH, REUSE
from benchmarks.signing import SIGNING
from benchmarks.transitions import TRANSITIONS
from builder.errors import RepobuildError
from builder.tools.machine import processors
from builder.tools.run import run

ALL = (
    METADATA,
    METADATA_UPDATE,
    PUBLISH,
    MAKECACHE,
    SIGNING,
    TRANSITIONS,
    PLAN,
    REUSE,
    LARGE_RUN,
    LIGHT,
    LIGHT_DKMS,
    *MANY_CELLS,
    REPEAT,
    DASK_CELLS,
)
SCHEMA = 2
_VERSIONS = {"rpm": ("rpm", "--version"), "createrepo_c": ("createrepo_c", "--version"), "gpg": ("gpg", "--version")}
people = Console(stderr=True, highlight=False, soft_wrap=True)


def _machine() -> dict[str, object]:
    """What the figures depend on and a reader must know."""
    tools = {name: run(argv, timeout=60).stdout.splitlines()[0] for name, argv in _VERSIONS.items()}
    load = [round(value, 1) for value in os.getloadavg()]
    return {"processors": processors(), "load": load, "python": sys.version.split()[0], "tools": tools}


def _chosen(only: Sequence[str], *, real: bool, modules: Sequence[str], packages: Path | None) -> list[Benchmark]:
    long = [*real_cells(modules), *conftest_cells(modules), REPEAT_LARGE]
    joined = join_benchmarks(packages)
    if not joined:
        raise click.BadParameter(f"{packages}: no kmod package of a kernel of the lab with its objects' package")
    quick = [*ALL, *joined]
    known = [*quick, *(benchmark for benchmark in long if real or benchmark.name in only)]
    names = [benchmark.name for benchmark in (*quick, *long)]
    unknown = [name for name in only if name not in names]
    if unknown:
        raise click.BadParameter(f"{', '.join(unknown)}: not one of {', '.join(names)}")
    return [benchmark for benchmark in known if not only or benchmark.name in only]


def _measure_all(chosen: Sequence[Benchmark], runs: int) -> tuple[list[Result], list[str]]:
    """Results of the benchmarks that worked, names of those that failed."""
    results, failed = [], []
    for benchmark in chosen:

        def tell(text: str, name: str = benchmark.name) -> None:
            people.print(f"{name}: {text}", markup=False)

        with tempfile.TemporaryDirectory(prefix="repobuild-bench-") as tmp:
            try:
                count = max(min(runs, benchmark.runs or runs), benchmark.runs_at_least)
                results.append(measure(benchmark, Path(tmp), runs=count, tell=tell))
            except OSError as exc:  # the results of the others are not lost with it
                failed.append(benchmark.name)
                people.print(f"{benchmark.name}: failed: {exc}", markup=False)
            except RepobuildError as exc:
                failed.append(benchmark.name)
                lines = [exc.message, *(f"  {line}" for line in exc.details), *([exc.hint] if exc.hint else [])]
                people.print(f"{benchmark.name}: failed: " + "\n".join(lines), markup=False)
    return results, failed


def _print_targets(console: Console, results: Sequence[Result]) -> None:
    """What was asked of each, and whether it holds; times of processors, where others disturb the machine."""
    table = Table("benchmark", "target", "is", "verdict", title="Targets (docs/benchmarks.md)")
    for result in results:
        for what, limit, figure, holds in result.verdicts():
            verdict = "holds" if holds else "DOES NOT HOLD"
            table.add_row(result.benchmark.name, f"≤ {limit:.3g} {what}", f"{figure:.3g} {what}", verdict)
        if result.cpu and any(result.cpu):
            peers = f", peer {statistics.median(result.peer_cpu):.2f} s" if any(result.peer_cpu) else ""
            ratio = f"ratio {result.cpu_ratio:.2f}" if result.cpu_ratio is not None else ""
            figure_text = f"{statistics.median(result.cpu):.2f} s{peers}"
            table.add_row(result.benchmark.name, "processors' time", figure_text, ratio)
    if table.rows:
        console.print(table)


def _print_table(results: Sequence[Result]) -> None:
    console = Console(highlight=False, width=None if sys.stdout.isatty() else 120)
    table = Table("benchmark", "work", "peer", title="Medians in seconds; ratio = median of repobuild / peer by pairs")
    for column in ("runs", "repobuild", "peer's", "ratio"):
        table.add_column(column, justify="right")
    for result in results:
        ours, peer = result.medians
        figures = (f"{ours:.2f}", "–" if peer is None else f"{peer:.2f}")
        ratio = "–" if result.ratio is None else f"{result.ratio:.2f}"
        about = result.benchmark
        table.add_row(about.name, about.work, about.peer, str(len(result.ours)), *figures, ratio)
    console.print(table)
    _print_targets(console, results)
    for result in results:
        console.print(f"{result.benchmark.name}: {result.benchmark.note}", markup=False)
        for what, size in result.sizes.items():
            console.print(f"  {size / 1e6:8.2f} MB  {what}", markup=False)


@click.command()
@click.option("--runs", default=5, show_default=True, type=click.IntRange(min=1), help="Runs of each side.")
@click.option("--only", multiple=True, metavar="NAME", help="Only this one (repeatable); a wrong name lists all.")
@click.option("--real", is_flag=True, help="Also cell-real*, dkms-real, conftest-*, repeat-2000: hours.")
@click.option("--modules", default="", metavar="NAME,…", help="Modules of real cells instead of all five.")
@click.option(
    "--packages",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Join the kmod packages below this folder (a publication, a work folder) instead of a light one.",
)
@click.option("--json", "output", default="benchmarks.json", show_default=True, type=click.Path(path_type=Path))
def main(*, runs: int, only: tuple[str, ...], real: bool, modules: str, packages: Path | None, output: Path) -> None:
    """Do the same work by repobuild and by a peer, in turn, and compare the times.

    Fails only when work failed or the two made different things, never for a time.
    """
    named = [name for name in modules.split(",") if name]
    chosen = _chosen(only, real=real, modules=named, packages=packages)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    machine = _machine()
    results, failed = _measure_all(chosen, runs)
    if results:
        _print_table(results)
    documents = [result.document() for result in results]
    document = {"schema": SCHEMA, "started": started, "machine": machine, "benchmarks": documents, "failed": failed}
    output.write_text(json.dumps(document, indent=1) + "\n")
    if failed:
        people.print(f"failed: {', '.join(failed)}", markup=False)
        sys.exit(1)


if __name__ == "__main__":
    main()
