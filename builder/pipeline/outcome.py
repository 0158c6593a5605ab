"""What a run comes to: lines for people, and what is missing for the exit code."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape

from builder.errors import PartialFailureError, PublishError, RepobuildError
from builder.model.cells import Decision, PackageKind
from builder.model.run import RunReport
from builder.pipeline.matrix import Stage
from builder.pipeline.settings import Settings
from builder.report import count_lines

_REASON = 100  # characters of a reason beside a stream; the whole one stands with its unit


def failures_of(report: RunReport, stages: Stage) -> list[str]:
    """Why planned units did not get through these stages, one line a reason; and publications that failed.

    What a stage left out of the run would have made is not missed.
    """
    planned = {a.unit.id: a.decision for a in report.actions}
    by_reason: dict[str, list[str]] = {}
    for o in report.outcomes:
        decision = planned.get(o.unit.id)
        blocked = decision is Decision.BLOCKED and bool(stages & (Stage.FETCH | Stage.BUILD))
        missed = blocked or (Stage.BUILD in stages and not o.ok_so_far)  # though an earlier build may stand in for it
        if decision is not Decision.SKIP and (missed or o.code is not None):
            by_reason.setdefault(o.reason, []).append(o.unit.id)
    lines = [
        f"{ids[0]}{f' and {len(ids) - 1} more' if len(ids) > 1 else ''}: {reason}" for reason, ids in by_reason.items()
    ]
    for distribution in report.distributions:
        where = f"{distribution.distribution.name}/{distribution.arch}"
        if distribution.error is not None:
            lines.append(f"{where}: not published: {distribution.error.message}")
            lines.extend(f"{where}: {detail}" for detail in distribution.error.details)
    return lines


def worst_failure(report: RunReport, failures: list[str]) -> RepobuildError | None:
    """What a run's exit code stands for: a publication that could not be made, else what is missing, else None."""
    if not failures:
        return None
    lost = [d for d in report.distributions if d.error is not None]
    if lost:
        where = ", ".join(f"{d.distribution.name}/{d.arch}" for d in lost)
        return PublishError(
            f"not published: {where}; the former publication stays current",
            details=failures[:40],
            hint=next((d.error.hint for d in lost if d.error and d.error.hint), None) or next_step(report),
        )
    return PartialFailureError(
        "not everything that was selected is there", details=failures[:40], hint=next_step(report)
    )


def next_step(report: RunReport) -> str:
    """What to do about failures: what unblocks the first blocked unit, else where the evidence is."""
    hints = [a.hint for a in report.actions if a.decision is Decision.BLOCKED and a.hint]
    return hints[0] if hints else "repobuild why <cell> shows the evidence; the rest was done"


def summary_lines(report: RunReport, settings: Settings, stages: Stage) -> list[str]:
    """The end of a run, in rich markup: cells where some were built, streams where they were published."""
    lines: list[str] = []
    if Stage.BUILD in stages:
        cells = [o for o in report.outcomes if o.unit.kind is PackageKind.KMOD]
        counts = Counter(_word(o.reason, ok=o.ok_so_far) for o in cells)
        lines.append("cells: " + (", ".join(f"{n} {word}" for word, n in sorted(counts.items())) or "none"))
        lines += [f"  {escape(line)}" for line in count_lines(report)]
    for item in report.distributions if Stage.PUBLISH in stages else ():
        where = f"{item.distribution.name}/{item.arch}"
        for plan in item.streams:
            drivers = ", ".join(d.version for d in plan.drivers)
            held = "; ".join(f"{version} held: {_short(reason)}" for version, reason in plan.held)
            text = f"[bold]{drivers}[/]" if drivers else "[yellow]held back[/]"
            note = f"  [dim]{escape(held)}[/]" if held and (not drivers or plan.stream.branch) else ""
            lines.append(f"  {where}  {plan.stream.name:<18} {text}{note}")
        if item.publication is not None:
            state = "new" if item.publication.changed else "unchanged"
            digest = item.publication.digest[:16]
            lines.append(f"[green]published[/] {where}: {item.publication.packages} packages, {digest} ({state})")
            lines.append(f"  repository {escape(str(item.publication.current))}")
            lines.append(f"  key        {escape(str(settings.repo_path / 'RPM-GPG-KEY-repobuild'))}")
    lines.append(f"  work       {escape(str(settings.work.absolute()))}")
    return lines


def _short(reason: str) -> str:
    return reason if len(reason) <= _REASON else reason[: _REASON - 1] + "…"


def _word(reason: str, *, ok: bool) -> str:
    if ok:
        return reason.split(":", 1)[0]
    return "not there"
