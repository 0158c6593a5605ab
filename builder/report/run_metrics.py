"""A run in numbers, as node_exporter's textfile collector reads them (Prometheus text format, by its own library)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from builder.model.run import RunReport
from builder.report.run_summary import cell_lines

if TYPE_CHECKING:
    from prometheus_client import CollectorRegistry, Gauge


@dataclass(slots=True, kw_only=True)
class RunNumbers:
    """What is known of a run by now."""

    started: float  # seconds since the epoch
    now: float  # seconds since the epoch
    exit_code: int | None = None  # None: it runs
    events: Mapping[tuple[str, str], int] = field(default_factory=dict)  # by stage and state
    report: RunReport | None = None


def write_metrics(path: Path, numbers: RunNumbers) -> None:
    """Replace the file by one rename. Raises OSError."""
    from prometheus_client import CollectorRegistry, Gauge, write_to_textfile  # noqa: PLC0415  few runs are asked to

    registry = CollectorRegistry()

    def gauge(name: str, text: str, labels: tuple[str, ...] = ()) -> Gauge:
        return Gauge(f"repobuild_{name}", text, labels, registry=registry)

    gauge("run_active", "1 while a run works.").set(int(numbers.exit_code is None))
    gauge("run_started_timestamp_seconds", "When the run started.").set(numbers.started)
    gauge("run_seconds", "How long it took, or has taken by now.").set(round(numbers.now - numbers.started, 1))
    if numbers.exit_code is not None:
        gauge("run_exit_code", "Exit code of the run, as the user guide lists them.").set(numbers.exit_code)
        gauge("run_finished_timestamp_seconds", "When the run ended.").set(numbers.now)
    events = gauge("run_events", "What happened in the run, by stage and state.", ("stage", "state"))
    for (stage, state), count in sorted(numbers.events.items()):
        events.labels(stage, state).set(count)
    if numbers.report is not None:
        _add_report(registry, numbers.report)
    write_to_textfile(str(path), registry)


def _add_report(registry: CollectorRegistry, report: RunReport) -> None:
    from prometheus_client import Gauge  # noqa: PLC0415  as above

    cells = Gauge("repobuild_cells", "Cells at the end of the run.", ("branch", "state"), registry=registry)
    for (branch, state), count in sorted(Counter((c.branch, c.state.value) for c in cell_lines(report)).items()):
        cells.labels(branch, state).set(count)
    failed = Gauge("repobuild_failed_units", "Cells and packages that failed.", ("code",), registry=registry)
    for code, count in sorted(Counter(o.code for o in report.outcomes if o.code).items()):
        failed.labels(code).set(count)
    where = ("distribution", "arch")
    packages = Gauge("repobuild_published_packages", "RPMs of the current publication.", where, registry=registry)
    ok = Gauge("repobuild_publication_ok", "0 where the run could not publish.", where, registry=registry)
    held = Gauge("repobuild_streams_held", "Streams without a driver.", where, registry=registry)
    for item in report.distributions:
        place = (item.distribution.name, item.arch)
        ok.labels(*place).set(int(item.error is None))
        held.labels(*place).set(sum(not plan.drivers for plan in item.streams))
        if item.publication is not None:
            packages.labels(*place).set(item.publication.packages)
