"""What freeing space did or would do, on a console: each thing that goes, and the sums by kind."""

from __future__ import annotations

from collections.abc import Sequence

from rich.console import Console
from rich.filesize import decimal
from rich.table import Table
from rich.text import Text

from builder.model.retention import Fate, Retention

_SHORT = 20  # characters of a key beside what it is of


def print_retention(console: Console, found: Retention) -> None:
    """A table on a terminal, one plain line a thing elsewhere; the sums at the end."""
    going = [fate for fate in found.fates if not fate.stays]
    if console.is_terminal:
        _print_table(console, going)
    else:
        for fate in going:
            _line(console, f"{fate.item.kind} {_name(fate)}: {decimal(fate.frees)}: {fate.reason}")
    for kind in dict.fromkeys(fate.item.kind for fate in found.fates):
        here = [fate for fate in found.fates if fate.item.kind == kind]
        gone = [fate for fate in here if not fate.stays]
        _line(console, f"{kind}: {len(here) - len(gone)} stay, {len(gone)} go, {decimal(sum(f.frees for f in gone))}")
    verb = "freed" if found.removed else "would be freed"
    _line(console, f"{decimal(found.frees)} of {decimal(found.total)} {verb}, {found.rows} rows of the ledger")


def _print_table(console: Console, going: Sequence[Fate]) -> None:
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("kind", "what", "frees", "reason"):
        table.add_column(title, overflow="fold", justify="right" if title == "frees" else "left")
    for fate in going:
        table.add_row(Text(fate.item.kind), Text(_name(fate)), Text(decimal(fate.frees)), Text(fate.reason))
    console.print(table)


def _name(fate: Fate) -> str:
    item = fate.item
    return f"{item.name[:_SHORT]} ({item.about})" if item.about else item.name


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
