"""Lifetimes over time: what publications announce, what `prune` takes out, what must not leave early."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from builder.config import load_matrix, load_retired, write_retired
from builder.errors import PublishError
from builder.model.lifetimes import Announced, Departure, Retired
from builder.model.matrix import Matrix
from builder.model.publication import PublicationContent
from builder.pipeline.settings import Settings
from builder.pipeline.workshop import Workshop
from builder.plan.lifetimes import decide_departures, without_retired
from builder.publish import Repository
from builder.report import SUPPORT_FILE, left_early
from builder.store.files import write_atomic

ANNOUNCEMENTS_FILE = "announcements.json"
_SCHEMA = 1


def record_announcements(repo: Path, places: Iterable[tuple[str, str]], today: date | None = None) -> None:
    """Remember since when each current publication says what leaves; call while the repository is locked.

    ``announcements.json`` beside the publications: by place and thing ``leaves`` and ``since``. Who announces an
    earlier day starts again, what is not said any more is forgotten. Losing the file makes things leave later.
    """
    day = (today or datetime.now(UTC).date()).isoformat()
    known = read_announcements(repo)
    now = {}
    for distribution, arch in places:
        place = f"{distribution}/{arch}"
        rows = {row["what"]: row["leaves"] for row in read_support(repo, distribution, arch).get("leaving", ())}
        before = known.get(place, {})
        now[place] = {
            what: before[what]
            if what in before and before[what].leaves <= leaves
            else Announced(leaves=leaves, since=day)
            for what, leaves in rows.items()
        }
    merged = {**known, **now}
    if merged != known:
        document = {
            place: {what: {"leaves": a.leaves, "since": a.since} for what, a in sorted(rows.items())}
            for place, rows in sorted(merged.items())
            if rows
        }
        text = json.dumps({"schema": _SCHEMA, "announcements": document}, indent=1) + "\n"
        write_atomic(repo.absolute() / ANNOUNCEMENTS_FILE, text.encode())


def read_announcements(repo: Path) -> dict[str, dict[str, Announced]]:
    """By place (distribution/arch) and thing; nothing where there is no such file or it is damaged."""
    try:
        document = json.loads((repo / ANNOUNCEMENTS_FILE).read_text())["announcements"]
        return {
            str(place): {
                str(what): Announced(leaves=str(row["leaves"]), since=str(row["since"])) for what, row in rows.items()
            }
            for place, rows in document.items()
        }
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return {}


def read_support(repo: Path, distribution: str, arch: str) -> dict[str, Any]:
    """The support matrix of a current publication; empty where there is none that can be read."""
    try:
        document = json.loads((repo / distribution / arch / SUPPORT_FILE).read_text())
    except (OSError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


def prune(settings: Settings, *, dry_run: bool, today: date | None = None) -> tuple[Departure, ...]:
    """Decide what leaves at the end of its lifetime, and write it to matrix.retired.yaml unless ``dry_run``.

    Nothing is removed here: the next publication is made without it. Raises ConfigError.
    """
    retired = load_retired(settings.retired_path)
    matrix = without_retired(load_matrix(settings.config, settings.streams), retired)
    day = today or datetime.now(UTC).date()
    repo = settings.repo_path
    published = {
        f"{d.name}/{arch}": read_support(repo, d.name, arch)
        for d in matrix.distributions
        for arch in d.arches
        if Repository(repo).current(d.name, arch) is not None
    }
    announced = read_announcements(repo)
    departures = decide_departures(
        matrix,
        {place: announced.get(place, {}) for place in published},
        {place: _followed(matrix, support) for place, support in published.items()},
        day,
    )
    going = [d for d in departures if d.goes]
    if going and not dry_run:
        rows = (Retired(kind=d.kind, name=d.name, on=day.isoformat(), reason=d.reason) for d in going)
        write_retired(settings.retired_path, (*retired, *rows))
    return departures


def _followed(matrix: Matrix, support: Mapping[str, Any]) -> set[str]:
    """Branches of the drivers that hosts get from the published streams which follow the newest one."""
    branches = {driver.version: branch.name for branch in matrix.branches for driver in branch.drivers}
    following = (s for s in support.get("streams", ()) if s.get("follows_newest"))
    return {branches[version] for stream in following for version in stream["drivers"][-1:] if version in branches}


def check_lifetimes(shop: Workshop, content: PublicationContent) -> None:
    """Whether a publication takes anything away that is in its lifetime: a warning, or PublishError where
    matrix.yaml says so. What `prune` retired is meant to leave.
    """
    subject = f"{content.distribution}/{content.arch}"
    old = read_support(shop.settings.repo_path, content.distribution, content.arch)
    new = dict(content.files).get(SUPPORT_FILE)
    if not old or new is None:
        return
    lost = list(_unless_retired(shop, left_early(old, json.loads(new), datetime.now(UTC).date().isoformat())))
    if not lost:
        return
    message = f"{len(lost)} combinations would leave in their lifetime: {lost[0]}"
    if shop.configuration.matrix.retention.early == "refuse":
        raise PublishError(
            f"{subject}: {message}",
            details=lost,
            hint="repobuild why says what became of a cell; retention.early: warn in matrix.yaml lets them go",
        )
    shop.tell("publish", subject, "warning", message)


def _unless_retired(shop: Workshop, lost: Iterable[tuple[str, str, str]]) -> Iterator[str]:
    retired = {(one.kind, one.name) for one in shop.configuration.retired}
    for kernel, stream, branch in lost:
        if ("kernel", kernel) not in retired and ("branch", branch) not in retired:
            yield f"kernel {kernel} on stream {stream}"
