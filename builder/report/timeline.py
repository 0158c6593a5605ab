"""Lifetimes of branches as bars on a common axis of years. Pure: today is drawn by who looks at the page."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

_WIDTH = 100  # per cent of the axis
_DECEMBER = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetime:
    """A branch and where its bar ends."""

    branch: Mapping[str, Any]  # of the document
    streams: tuple[str, ...]  # that follow it, sorted
    width: float  # of the bar, per cent of the axis; all of it where no end was announced


@dataclass(frozen=True, slots=True, kw_only=True)
class Lifetimes:
    """The axis and its bars, newest branch first."""

    first: int  # year that the axis begins with
    last: int  # year before which it ends
    ticks: tuple[tuple[int, float], ...]  # (year, place in per cent)
    rows: tuple[Lifetime, ...]


def lifetimes_of(site: Mapping[str, Any]) -> Lifetimes:
    """Of all branches in a document of ``site_document``. A bar begins with the axis: no begin is known."""
    branches = {b["name"]: b for p in site["publications"] for b in p["branches"]}
    streams: dict[str, set[str]] = {}
    for publication in site["publications"]:
        for stream in publication["streams"]:
            if stream["branch"] and stream["drivers"]:
                streams.setdefault(stream["branch"], set()).add(stream["name"])
    ends = {name: _end(branch["eol"]) for name, branch in branches.items() if branch["eol"]}
    first = int(min(ends.values(), default=2025.0)) - 1
    last = int(max(ends.values(), default=2026.0)) + 1

    def place(year: float) -> float:
        return round((year - first) / (last - first) * _WIDTH, 1)

    return Lifetimes(
        first=first,
        last=last,
        ticks=tuple((year, place(year)) for year in range(first, last)),
        rows=tuple(
            Lifetime(
                branch=branches[name],
                streams=tuple(sorted(streams.get(name, ()))),
                width=place(ends[name]) if name in ends else _WIDTH,
            )
            for name in sorted(branches, key=int, reverse=True)
        ),
    )


def leaving_of(site: Mapping[str, Any]) -> list[tuple[str, str, str, str]]:
    """What publications announce to leave, the next first: day, what, why, and of which distributions."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for publication in site["publications"]:
        for row in publication.get("leaving", ()):
            places = found.setdefault((row["leaves"], row["what"], row["why"]), [])
            places.append(f"{publication['distribution']} {publication['arch']}")
    return [(*key, ", ".join(sorted(places))) for key, places in sorted(found.items())]


def _end(eol: str) -> float:
    """``2026-06`` ends with June, ``2024`` with December; as a year with its fraction."""
    year, _, month = eol.partition("-")
    return int(year) + (int(month) if month else _DECEMBER) / _DECEMBER
