"""Lifetimes in the support matrix: what leaves when, and what left before its time. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import date, timedelta
from typing import Any

from builder.model.lifetimes import last_day, leaving_name
from builder.model.report import SupportFacts
from builder.report.difference import OFFERED

SUPPORT_FILE = "support-matrix.json"


def leaving_rows(facts: SupportFacts) -> list[dict[str, str]]:
    """``what, kind, name, leaves, why`` of everything whose day is known, the next first. It holds no clock: readers
    compare with theirs.
    """
    things = [("branch", b.name, b.eol, b.leaves) for b in facts.branches]
    things += [("kernel", k.release, k.eol, k.leaves) for k in facts.kernels if k.live]
    rows = [
        {
            "what": leaving_name(kind, name),
            "kind": kind,
            "name": name,
            "leaves": leaves,
            "why": f"its lifetime ends on {last_day(eol)}",
        }
        for kind, name, eol, leaves in things
        if leaves is not None and eol is not None
    ]
    return sorted(rows, key=lambda row: (row["leaves"], row["what"]))


def leaving_soon(support: Mapping[str, Any], today: date) -> list[Mapping[str, Any]]:
    """The rows of a support matrix whose notice has begun: they leave within ``notice_days``, or might have left."""
    days = int(support.get("retention", {}).get("notice_days", 0))
    until = (today + timedelta(days=days)).isoformat()
    return [row for row in support.get("leaving", ()) if row["leaves"] <= until]


def left_early(old: Mapping[str, Any], new: Mapping[str, Any], today: str) -> Iterator[tuple[str, str, str]]:
    """Kernel, stream and its branch of what ``old`` offers, ``new`` does not, and whose lifetimes had not ended by the
    announcement of ``old``.
    """
    branches = {b["name"]: b.get("leaves") for b in old.get("branches", ())}
    streams = {s["name"]: s for s in old.get("streams", ())}
    now = {k["release"]: k["streams"] for k in new.get("kernels", ())}
    for kernel in old.get("kernels", ()):
        for name, offer in sorted(kernel["streams"].items()):
            branch = streams.get(name, {}).get("branch") or ""
            ended = any(day is not None and day <= today for day in (kernel.get("leaves"), branches.get(branch)))
            still = now.get(kernel["release"], {}).get(name, {}).get("state") in OFFERED
            if offer["state"] in OFFERED and not still and not ended:
                yield kernel["release"], name, branch
