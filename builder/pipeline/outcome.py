"""What a run comes to: lines for people, and what is missing for the exit code."""

from __future__ import annotations

from collections import Counter

from rich.markup import escape

from builder.model.cells import Decision, PackageKind
from builder.model.run import RunReport
from builder.pipeline.settings import Settings


def failures_of(report: RunReport) -> list[str]:
    """One line for each planned unit that is not there in its newest content, and each publication that failed."""
    planned = {a.unit.id: a.decision for a in report.actions}
    lines = [
        f"{o.unit.id}: {o.reason}"
        for o in report.outcomes
        if planned.get(o.unit.id) is not Decision.SKIP and (not o.ok_so_far or o.code is not None)
    ]
    for distribution in report.distributions:
        where = f"{distribution.distribution.name}/{distribution.arch}"
        if distribution.error is not None:
            lines.append(f"{where}: not published: {distribution.error.message}")
            lines.extend(f"{where}: {detail}" for detail in distribution.error.details)
    return lines


def summary_lines(report: RunReport, settings: Settings) -> list[str]:
    """The end of a run, in rich markup."""
    counts = Counter(_word(o.reason, ok=o.ok_so_far) for o in report.outcomes if o.unit.kind is PackageKind.KMOD)
    lines = ["cells: " + (", ".join(f"{n} {word}" for word, n in sorted(counts.items())) or "none")]
    for item in report.distributions:
        where = f"{item.distribution.name}/{item.arch}"
        for plan in item.streams:
            drivers = ", ".join(d.version for d in plan.drivers)
            held = "; ".join(f"{version} held: {reason}" for version, reason in plan.held)
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


def _word(reason: str, *, ok: bool) -> str:
    if ok:
        return reason.split(":", 1)[0]
    return "not there"
