"""The support matrix as a table: kernels × branches × flavors, for the page. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cmp_to_key
from typing import Any

from builder.model.matrix import Flavor, Kmods
from builder.model.nevra import compare_evr

_AGE = cmp_to_key(compare_evr)
_LOG = re.compile(r"logs/[0-9a-f]+\.log")  # nothing else is made a link
WORDS = {"published": "offered", "held": "held back", "failed": "failed", "blocked": "blocked", "excluded": "excluded"}
MARKS = {"published": "p", "held": "h", "failed": "f", "blocked": "h", "excluded": "x"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Column:
    """Modules of one flavor of a branch."""

    branch: str
    flavor: str
    streams: tuple[str, ...]  # precompiled ones that follow the branch in any distribution, sorted
    default: bool  # one of them is the default


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """One cell of the matrix: what stands in a field of the table."""

    mark: str  # class of the field
    driver: str
    word: str  # level of qualification where it is offered, what became of it elsewhere
    facts: str  # when built, hours, an unusual signer, as far as known
    log: str | None
    notes: tuple[tuple[str, int], ...]  # (word, number of the reason)


@dataclass(slots=True, kw_only=True)
class Reasons:
    """Sentences that many cells share, each written once; numbers start with 1."""

    texts: dict[str, int] = field(default_factory=dict)

    def number(self, text: str) -> int:
        """Of a sentence."""
        return self.texts.setdefault(text, len(self.texts) + 1)


def columns_of(site: Mapping[str, Any]) -> list[Column]:
    """Newest branch first, open before proprietary; what no distribution has a cell of is left out."""
    used = {(c["branch"], c["flavor"]) for p in site["publications"] for c in p["cells"]}
    order = {flavor.value: n for n, flavor in enumerate((Flavor.OPEN, Flavor.PROPRIETARY))}
    found = []
    for branch, flavor in sorted(used, key=lambda pair: (-int(pair[0]), order[pair[1]])):
        streams = [
            s
            for p in site["publications"]
            for s in p["streams"]
            if s["drivers"] and (s["branch"], s["flavor"], s["kmods"]) == (branch, flavor, Kmods.PRECOMPILED.value)
        ]
        names = tuple(sorted({s["name"] for s in streams}))
        found.append(Column(branch=branch, flavor=flavor, streams=names, default=any(s["default"] for s in streams)))
    return found


def rows_of(
    publication: Mapping[str, Any], columns: Sequence[Column], reasons: Reasons
) -> list[tuple[Mapping[str, Any], list[list[Entry]]]]:
    """Kernels with their fields in the order of the columns; newest driver first in a field."""
    fields: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    for cell in publication["cells"]:
        fields.setdefault((cell["kernel"], cell["branch"], cell["flavor"]), []).append(cell)
    rows = []
    shared = shared_no_log(publication)
    for kernel in publication["kernels"]:
        row = []
        for column in columns:
            cells = fields.get((kernel["release"], column.branch, column.flavor), [])
            row.append(
                [
                    _entry(cell, publication, reasons, shared)
                    for cell in sorted(cells, key=lambda c: _AGE(c["driver"]), reverse=True)
                ]
            )
        rows.append((kernel, row))
    return rows


def shared_no_log(publication: Mapping[str, Any]) -> str | None:
    """Why cells of a publication have no log, where it is one reason for all: said once."""
    found = {c["no_log"] for c in publication["cells"] if c["outcome"] in ("published", "held", "failed")} - {None}
    return next(iter(found)) if len(found) == 1 else None


def _entry(
    cell: Mapping[str, Any], publication: Mapping[str, Any], reasons: Reasons, shared_no_log: str | None
) -> Entry:
    offered = cell["outcome"] == "published"
    notes = []
    if cell["reason"]:
        notes.append(("note" if offered else "why", reasons.number(cell["reason"])))
    built_here = cell["outcome"] in ("published", "held", "failed")
    if built_here and cell["no_log"] and cell["no_log"] != shared_no_log:
        notes.append(("no log", reasons.number(cell["no_log"])))
    facts = []
    if cell["built"]:
        facts.append(cell["built"][:10])
    if cell["hours"] is not None:
        facts.append(hours_text(cell["hours"]))
    signer = (publication["signer"] or {}).get("sha256")
    if offered and "signer" in cell and cell["signer"] != signer:
        facts.append(f"signed by {cell['signer'][:8]}" if cell["signer"] else "unsigned")
    return Entry(
        mark=MARKS[cell["outcome"]],
        driver=cell["driver"],
        word=cell["level"] or "" if offered else WORDS[cell["outcome"]],
        facts=" ".join(facts),
        log=cell["log"] if cell["log"] and _LOG.fullmatch(cell["log"]) else None,
        notes=tuple(notes),
    )


def hours_text(hours: float | None) -> str:
    """``31 h``, ``12 d`` from four days on; ``unknown`` where it is."""
    if hours is None:
        return "unknown"
    return f"{hours:.0f} h" if hours < 96 else f"{hours / 24:.0f} d"
