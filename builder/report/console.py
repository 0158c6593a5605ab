"""Plans and support matrices on a console: tables on a terminal, one plain line a fact elsewhere."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from builder.model.cells import Action, Decision
from builder.report.lifetimes import leaving_soon

_STYLES = {
    Decision.BUILD: "bold green",
    Decision.REUSE: "cyan",
    Decision.SKIP: "dim",
    Decision.BLOCKED: "bold red",
}
_STATES = {
    "published": "green",
    "dkms": "cyan",
    "held": "yellow",
    "blocked": "yellow",
    "excluded": "yellow",
    "failed": "red",
    "none": "dim",
}


def print_actions(console: Console, actions: Sequence[Action]) -> None:
    """Every unit with its decision and reason, in the order given, and the counts at the end."""
    counts = Counter(action.decision for action in actions)
    summary = ", ".join(f"{counts[d]} {d.value}" for d in Decision if counts[d]) or "nothing to do"
    if not console.is_terminal:
        for action in actions:
            hint = f"; next: {action.hint}" if action.hint else ""
            _line(console, f"{action.decision.value:<8} {action.unit.id}: {action.reason}{hint}")
        _line(console, summary)
        return
    table = Table(box=None, header_style="bold", padding=(0, 2, 0, 0))
    for title in ("decision", "cell or package", "reason"):
        table.add_column(title, overflow="fold", no_wrap=title == "decision")
    for action in actions:
        reason = Text(action.reason)
        if action.hint:
            reason.append(f"\nnext: {action.hint}", style="dim")
        table.add_row(Text(action.decision.value, style=_STYLES[action.decision]), Text(action.unit.id), reason)
    console.print(table)
    console.print(Text(summary, style="bold"))


def print_support_matrix(console: Console, document: dict[str, Any], today: date | None = None) -> None:
    """Kernels × streams, the streams with their lifetimes, what is not offered and why; as of ``today`` what leaves."""
    if console.is_terminal:
        _print_tables(console, document)
    else:
        _print_lines(console, document)
    where = f"{document['distribution']}/{document['arch']}"
    for row in leaving_soon(document, today) if today is not None else ():
        _line(console, f"{where} {row['what']} leaves on {row['leaves']}: {row['why']}")


def _print_lines(console: Console, document: dict[str, Any]) -> None:
    where = f"{document['distribution']}/{document['arch']}"
    for stream in document["streams"]:
        drivers = ", ".join(stream["drivers"]) or "held back"
        facts = [stream["flavor"], stream["kmods"], _lifetime(document, stream)]
        default = " (default)" if stream["default"] else ""
        _line(console, f"{where} stream {stream['name']}{default}: {drivers}: {', '.join(f for f in facts if f)}")
    for command in document.get("commands", ()):  # not in what older versions published
        _line(console, f"{where} use: {command}")
    for kernel in document["kernels"]:
        for name, offer in kernel["streams"].items():
            what = " ".join(word for word in (offer["state"], offer["driver"]) if word)
            reason = f": {offer['reason']}" if offer["reason"] else ""
            _line(console, f"{where} {kernel['release']} {name}: {what}{reason}")
    for cell in _missing(document):
        _line(console, f"{where} {cell['id']}: {cell['outcome']}: {cell['reason']}")


def _print_tables(console: Console, document: dict[str, Any]) -> None:
    console.print(Text(f"{document['module']} on {document['title']}, {document['arch']}", style="bold"))
    grid = Table(header_style="bold")
    grid.add_column("kernel", no_wrap=True)
    for stream in document["streams"]:
        grid.add_column(f"{stream['name']}{' *' if stream['default'] else ''}", overflow="fold")
    for kernel in document["kernels"]:
        offers = [_mark(kernel["streams"][stream["name"]]) for stream in document["streams"]]
        grid.add_row(Text(kernel["release"]), *offers)
    console.print(grid)
    streams = Table(header_style="bold", box=None, padding=(0, 2, 0, 0))
    for title in ("stream", "driver", "modules", "lifetime"):
        streams.add_column(title, overflow="fold")
    for stream in document["streams"]:
        name = Text(stream["name"], style="bold" if stream["default"] else "")
        drivers = Text(", ".join(stream["drivers"])) if stream["drivers"] else Text("held back", style="yellow")
        how = f"{stream['flavor']}, {stream['kmods']}"
        streams.add_row(name, drivers, Text(how), Text(_lifetime(document, stream)))
    console.print(streams)
    for command in document.get("commands", ()):  # not in what older versions published
        console.print(Text(f"use  {command}", style="dim"), soft_wrap=True)
    for cell in _missing(document):
        text = Text(f"{cell['outcome']:<9}", style=_STATES[cell["outcome"]])
        console.print(text.append(f" {cell['id']}: {cell['reason']}", style="default"), soft_wrap=True)


def _mark(offer: dict[str, Any]) -> Text:
    words = {"published": offer["driver"], "dkms": f"{offer['driver']} dkms", "none": "–"}
    return Text(words.get(offer["state"], offer["state"]), style=_STATES[offer["state"]])


def _lifetime(document: dict[str, Any], stream: dict[str, Any]) -> str:
    branch = next((b for b in document["branches"] if b["name"] == stream["branch"]), None)
    if branch is None:
        return ""
    facts = [f"R{branch['name']} {branch['type']}"]
    facts += [f"until {branch['eol']}"] if branch["eol"] else []
    facts += [f"CUDA up to {branch['max_cuda']}"] if branch["max_cuda"] else []
    return ", ".join(facts)


def _missing(document: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for cell in document["cells"] if cell["outcome"] != "published"]


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, soft_wrap=True)
