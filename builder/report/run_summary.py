"""What came of a run's cells: by branch, by kernel, and as a Markdown page for CI systems."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from builder.errors import RepobuildError
from builder.model.cells import Action, Decision, PackageKind
from builder.model.planning import UnitOutcome
from builder.model.run import DistributionReport, RunReport

_FEW = 10  # kernels that are told one by one, whatever became of their cells


class State(StrEnum):
    """Where a cell stands at the end of a run, worst last."""

    BUILT = "built"
    REUSED = "reused"
    SKIPPED = "skipped"
    MISSING = "not built"
    BLOCKED = "blocked"
    KEPT = "failed, earlier build kept"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class CellLine:
    """One cell of a run."""

    id: str
    branch: str  # r535-open
    kernel: str  # <distribution> <uname -r>
    state: State
    code: str | None  # of its failure
    reason: str


def cell_lines(report: RunReport) -> tuple[CellLine, ...]:
    """The cells of a run in the order of its plan."""
    decisions = {action.unit.id: action for action in report.actions}
    found = []
    for outcome in report.outcomes:
        cell = outcome.unit.cell
        if cell is None or outcome.unit.kind is not PackageKind.KMOD:
            continue
        found.append(
            CellLine(
                id=cell.id,
                branch=f"r{cell.driver.branch}{cell.flavor.suffix}",
                kernel=f"{cell.distribution.name} {cell.kernel.release}",
                state=_state(outcome, decisions.get(outcome.unit.id)),
                code=outcome.code,
                reason=outcome.reason,
            )
        )
    return tuple(found)


def _state(outcome: UnitOutcome, action: Action | None) -> State:
    decision = action.decision if action else None
    if decision is Decision.SKIP:
        return State.SKIPPED
    if outcome.code is not None:
        return State.KEPT if outcome.ok_so_far else State.FAILED
    if decision is Decision.BLOCKED:
        return State.BLOCKED
    if not outcome.ok_so_far:
        return State.MISSING
    return State.BUILT if outcome.reason == "built" else State.REUSED


def count_lines(report: RunReport) -> list[str]:
    """``branch <name> <counts>`` and ``kernel <distribution> <release> <counts>``, sorted; none without cells.

    Many kernels of which every cell was reused are one line together.
    """
    cells = cell_lines(report)
    kernels = dict(_grouped(cells, "kernel"))
    quiet = [name for name, group in kernels.items() if all(cell.state is State.REUSED for cell in group)]
    unchanged = [cell for name in quiet for cell in kernels.pop(name)] if len(quiet) > _FEW else []
    lines = []
    for title, groups in (("branch", _grouped(cells, "branch")), ("kernel", kernels)):
        width = max((len(name) for name in groups), default=0)
        lines += [f"{title} {name:<{width}}  {_counts(group)}" for name, group in groups.items()]
    return [*lines, *([f"{len(quiet)} kernels with nothing new  {_counts(unchanged)}"] if unchanged else [])]


def _grouped(cells: Sequence[CellLine], by: str) -> Mapping[str, list[CellLine]]:
    groups: dict[str, list[CellLine]] = {}
    for cell in sorted(cells, key=lambda c: str(getattr(c, by))):
        groups.setdefault(getattr(cell, by), []).append(cell)
    return groups


def _counts(cells: Sequence[CellLine]) -> str:
    counts = Counter((c.state, c.code) for c in cells)
    order = list(State)
    found = sorted(counts.items(), key=lambda item: (order.index(item[0][0]), item[0][1] or ""))
    return ", ".join(f"{n} {state.value}{f' ({code})' if code else ''}" for (state, code), n in found)


def markdown(report: RunReport | None, failures: Sequence[str], error: RepobuildError | None) -> str:
    """A page that says what a run came to; ``report`` None: ``error`` kept it from its end."""
    title = "done" if error is None else f"exit code {error.exit_code} ({error.code})"
    lines = [f"# repobuild: {title}", ""]
    if error is not None:
        lines += [_escaped(error.message), ""]
        lines += [f"* {_escaped(text)}" for text in (failures or error.details)]
        lines += ["", f"Next: {_escaped(error.hint)}"] if error.hint else []
        lines.append("")
    if report is not None:
        cells = cell_lines(report)
        lines += [*_cell_table(cells), *_missing(cells), *_publications(report.distributions)]
    return "\n".join(lines).rstrip() + "\n"


def _cell_table(cells: Sequence[CellLine]) -> Iterator[str]:
    if not cells:
        return
    branches = sorted({c.branch for c in cells})
    yield from ("## Cells", "", f"{_counts(cells)}.", "")
    yield _row(["kernel", *branches])
    yield _row(["---"] * (len(branches) + 1))
    for kernel, group in _grouped(cells, "kernel").items():
        words: dict[str, list[str]] = {}
        for cell in group:  # several where a branch has several drivers
            bad = cell.state in (State.FAILED, State.KEPT, State.BLOCKED, State.MISSING)
            words.setdefault(cell.branch, []).append(f"**{cell.state.value}**" if bad else cell.state.value)
        yield _row([_escaped(kernel), *(", ".join(words.get(branch, ["–"])) for branch in branches)])
    yield ""


def _missing(cells: Sequence[CellLine]) -> Iterator[str]:
    failed = [c for c in cells if c.code is not None]
    if failed:
        yield from ("## Failed", "", _row(["cell", "class", "reason"]), _row(["---"] * 3))
        yield from (_row([f"`{c.id}`", c.code or "", _escaped(c.reason)]) for c in failed)
        yield from ("", "`repobuild why CELL` shows the evidence.", "")


def _publications(reports: Sequence[DistributionReport]) -> Iterator[str]:
    for item in reports:
        yield from (f"## {item.distribution.name}/{item.arch}", "")
        if item.publication is not None:
            state = "new" if item.publication.changed else "unchanged"
            yield f"Published: {item.publication.packages} packages, `{item.publication.digest[:16]}` ({state})."
        elif item.error is not None:
            yield f"**Not published**: {_escaped(item.error.message)}"
        else:
            yield "Not published in this run."
        yield ""
        if item.streams:
            yield from (_row(["stream", "drivers", "held back"]), _row(["---"] * 3))
            for plan in item.streams:
                held = "; ".join(f"{version}: {reason}" for version, reason in plan.held)
                yield _row([plan.stream.name, ", ".join(d.version for d in plan.drivers) or "–", _escaped(held)])
            yield ""


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def _escaped(text: str) -> str:
    """As Markdown shows it word for word, in one line."""
    for char in "\\`*_|<>[]":
        text = text.replace(char, f"\\{char}")
    return " ".join(text.split())
