"""Every current publication of a repository as one document, with what is known of times. Pure.

A publication is a function of its content and holds no time of day. When a module was built and since when it can be
had differs between machines, so it stands beside the publications (docs/adr/0028-support-page.md).
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from statistics import median
from typing import Any

from builder.model.report import TIME

SCHEMA = 1
PAGE, DATA, TIMES = "support-matrix.html", "support-matrix.json", "support-times.json"  # at the top of a repository
NOTHING_BUILT = "nothing was built"
_UNBUILT = ("excluded", "blocked")
# What publications by older versions of this program do not say.
_WAS: Mapping[str, Any] = {"signer": None, "delivery": "modular", "begin": [], "commands": []}
_STREAM_WAS: Mapping[str, Any] = {"profiles": [], "gpus": None, "install": [], "switch": []}


@dataclass(frozen=True, slots=True, kw_only=True)
class CellTimes:
    """Of a published module; times as TIME."""

    package: str  # NEVRA that ``built`` is of
    built: str | None  # None: its result was not recorded here
    available: str  # the first publication that had a module of this driver for this kernel


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentPublication:
    """A publication that clients see, and its own support matrix."""

    digest: str | None  # None: it is being made
    document: Mapping[str, Any]


def times_key(cell: Mapping[str, Any]) -> str:
    """Of a cell among those of its distribution × arch: unlike its id it stays when a newer driver joins the branch."""
    return f"{cell['driver']}/{cell['flavor']}@{cell['kernel']}"


def update_times(
    known: Mapping[str, CellTimes], document: Mapping[str, Any], made: float, built: Mapping[str, float]
) -> dict[str, CellTimes]:
    """What is known after a publication was made: nothing is forgotten, so that a rollback shows the same again.

    ``made``: when the publication was, seconds; ``built``: by package, likewise.
    """
    found = dict(known)
    for cell in document["cells"]:
        package = cell.get("package")  # not in what older versions published
        if cell["outcome"] != "published" or package is None:
            continue
        former = found.get(times_key(cell))
        same = former is not None and former.package == package
        found[times_key(cell)] = CellTimes(
            package=package,
            built=former.built if former and same and former.built else text_of(built.get(package)),
            available=former.available if former else text_of(made) or "",
        )
    return found


def text_of(seconds: float | None) -> str | None:
    """A time of day as it stands in the documents."""
    return None if seconds is None else f"{datetime.fromtimestamp(seconds, UTC):{TIME}}"


def read_times(data: bytes) -> dict[str, dict[str, CellTimes]]:
    """``support-times.json``, by ``<distribution>/<arch>``; nothing for what cannot be read: it is counted anew."""
    try:
        places = json.loads(data)["cells"]
        return {place: {key: CellTimes(**row) for key, row in rows.items()} for place, rows in places.items()}
    except (ValueError, KeyError, TypeError, AttributeError):
        return {}


def write_times(times: Mapping[str, Mapping[str, CellTimes]]) -> bytes:
    """The file that ``read_times`` reads."""
    cells = {place: {key: asdict(row) for key, row in sorted(rows.items())} for place, rows in sorted(times.items())}
    return (json.dumps({"schema": SCHEMA, "cells": cells}, indent=0, ensure_ascii=False) + "\n").encode()


def site_document(
    publications: Iterable[CurrentPublication],
    times: Mapping[str, Mapping[str, CellTimes]],
    *,
    place: str | None = None,
    logs: Mapping[str, Mapping[str, str]] | None = None,
    no_log: str | None = None,
) -> dict[str, Any]:
    """``schema, place, publications, freshness``; a publication is its own support matrix, with more in it.

    ``place``: the repository's address. ``logs``: by ``<distribution>/<arch>`` and cell id, where the log lies,
    relative to the repository; ``no_log`` says why the others have none.
    """
    found = [_publication(p, times, logs or {}, no_log) for p in publications]
    found.sort(key=lambda p: (_newest_first(p["distribution"]), p["arch"]))
    kernels = [kernel for publication in found for kernel in publication["kernels"]]
    return {"schema": SCHEMA, "place": place, "publications": found, "freshness": _freshness(kernels)}


def _newest_first(distribution: str) -> tuple[str | int, ...]:
    """el10 before el9, which are no further apart than their numbers."""
    parts = re.split(r"(\d+)", distribution)
    return tuple(-int(part) if n % 2 else part for n, part in enumerate(parts))


def _publication(
    publication: CurrentPublication,
    times: Mapping[str, Mapping[str, CellTimes]],
    logs: Mapping[str, Mapping[str, str]],
    no_log: str | None,
) -> dict[str, Any]:
    document = {**_WAS, **publication.document}
    where = f"{document['distribution']}/{document['arch']}"
    since = {k["release"]: k.get("published") or k.get("built") for k in document["kernels"]}
    cells = []
    for cell in document["cells"]:
        known = times.get(where, {}).get(times_key(cell)) if cell["outcome"] == "published" else None
        log = logs.get(where, {}).get(cell["id"])
        why = NOTHING_BUILT if cell["outcome"] in _UNBUILT else no_log
        more = {
            "built": known.built if known else None,
            "available": known.available if known else None,
            "hours": _hours(since.get(cell["kernel"]), known.available if known else None),
            "log": log,
            "no_log": None if log else why,
        }
        cells.append({**cell, **more})
    modules: defaultdict[str, list[str]] = defaultdict(list)  # when one was available, by kernel release
    for cell in cells:
        if cell["available"]:
            modules[cell["kernel"]].append(cell["available"])
    kernels = [_kernel(kernel, modules.get(kernel["release"], [])) for kernel in document["kernels"]]
    return {
        **document,
        "digest": publication.digest,
        "streams": [{**_STREAM_WAS, **stream} for stream in document["streams"]],
        "kernels": kernels,
        "cells": cells,
        "freshness": _freshness(kernels),
    }


def _kernel(kernel: Mapping[str, Any], modules: Sequence[str]) -> dict[str, Any]:
    first = min(modules, default=None)
    kernel = {"live": True, **kernel}
    return {**kernel, "first_module": first, "hours": _hours(kernel.get("published") or kernel.get("built"), first)}


def _hours(since: str | None, until: str | None) -> float | None:
    if since is None or until is None:
        return None
    waited = datetime.strptime(until, TIME) - datetime.strptime(since, TIME)  # noqa: DTZ007  both are UTC
    return max(0.0, round(waited.total_seconds() / 3600, 1))


def _freshness(kernels: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Hours from a kernel's publication to its first module; of live kernels."""
    live = [kernel for kernel in kernels if kernel.get("live", True)]
    known = [kernel["hours"] for kernel in live if kernel["hours"] is not None]
    return {
        "kernels": len(live),
        "known": len(known),
        "median_hours": round(median(known), 1) if known else None,
        "longest_hours": max(known, default=None),
    }
