"""One event a publication: written beside the publications, in the feed, and sent to webhooks. Never fails a run."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from builder.errors import PublishError, RepobuildError
from builder.model.lifetimes import Webhook
from builder.pipeline.events import Event, Listener
from builder.pipeline.lifetimes import record_announcements
from builder.publish import Generation, Repository, Told, advisory_ids, read_generation, send, shown
from builder.report import (
    EVENTS_FILE,
    FEED_FILE,
    Difference,
    Published,
    atom_feed,
    difference,
    events_json,
    publication_event,
)
from builder.store.files import write_atomic

_AUTHOR = "repobuild"


def record_events(
    repo: Path, places: Iterable[tuple[str, str]], *, address: str, author: str = _AUTHOR, kind: str = "publication"
) -> tuple[dict[str, Any], ...]:
    """Write an event for each (distribution, arch) whose current generation has none yet; the new ones, oldest first.

    So a run that was killed between switch and event makes up for it the next time. ``address`` is where clients find
    ``repo``. Raises LockedError while another repobuild publishes there, PublishError where nothing can be written.
    """
    repository = Repository(repo)
    if not repository.generations.is_dir():
        return ()
    with repository.writing():
        events = read_events(repo)
        fresh = []
        known = [(d, a) for d, a in places if repository.current(d, a) is not None]
        for distribution, arch in known:
            event = _missing(repository, events, distribution, arch, address=address, kind=kind)
            if event is not None:
                fresh.append(event)
                events = [event, *events]
        if fresh:
            write_atomic(repository.root / EVENTS_FILE, events_json(events))
        record_announcements(repo, known)
        if events:  # a run that was killed in between left the feed behind
            feed = atom_feed(events, address=address, author=author)
            write_atomic(repository.root / FEED_FILE, feed)
    return tuple(fresh)


def read_events(repo: Path) -> list[dict[str, Any]]:
    """The events of a repository, newest first; none where there is no such file or it is damaged."""
    try:
        events = json.loads((repo / EVENTS_FILE).read_text())["events"]
        return [e for e in events if isinstance(e, dict) and {"id", "time", "kind", "distribution", "arch"} <= e.keys()]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _missing(
    repository: Repository,
    events: Iterable[Mapping[str, Any]],
    distribution: str,
    arch: str,
    *,
    address: str,
    kind: str,
) -> dict[str, Any] | None:
    current = repository.current(distribution, arch)
    last = next((e for e in events if (e["distribution"], e["arch"]) == (distribution, arch)), None)
    if current is None or (last is not None and last.get("digest") == current):
        return None
    former = str(last["digest"]) if last is not None else None
    new = read_generation(repository.place(current))
    old = None
    if former is not None:
        with suppress(PublishError):  # it is gone, or damaged: what changed cannot be said
            old = read_generation(repository.place(former))
    return publication_event(
        now=time.time(),
        kind=kind,
        distribution=distribution,
        arch=arch,
        digest=current,
        former=former,
        url=f"{address.rstrip('/')}/{distribution}/{arch}",
        change=_change(old, new),
        support=_support(new),
        advisories=sorted(advisory_ids(new.path) - (advisory_ids(old.path) if old is not None else set())),
    )


def _change(old: Generation | None, new: Generation) -> Difference | None:
    if old is None:
        return None
    sides = [Published(digest=g.digest, packages=g.nevras, support=_support(g)) for g in (old, new)]
    return difference(*sides)


def _support(generation: Generation) -> dict[str, Any]:
    try:
        found: dict[str, Any] = json.loads((generation.path / "support-matrix.json").read_text())
    except (OSError, ValueError):
        return {}
    return found


def tell_webhooks(repo: Path, work: Path, hooks: Iterable[Webhook], listener: Listener) -> None:
    """Send each webhook what it was not told yet, in order; one that does not take it is told again by the next run."""
    told = Told(work)
    events = read_events(repo)
    for hook in hooks:
        waiting = told.waiting(hook, events)
        for number, event in enumerate(waiting):
            fault = send(hook, event)
            if fault is not None:
                left = len(waiting) - number
                text = f"{fault}; {left} event{'s' if left > 1 else ''} will be sent by the next run that publishes"
                listener(Event(stage="notify", subject=shown(hook), state="warning", text=text))
                break
            told.remember(hook, event)
            listener(Event(stage="notify", subject=shown(hook), state="done", text=f"told of {event['digest'][:12]}"))


def notify(
    repo: Path,
    work: Path,
    places: Iterable[tuple[str, str]],
    hooks: Iterable[Webhook],
    listener: Listener,
    *,
    address: str,
    author: str,
) -> None:
    """All of it after a publication, which it can no longer fail: what goes wrong is told as a warning."""
    try:
        record_events(repo, places, address=address, author=author)
        tell_webhooks(repo, work, hooks, listener)
    except (RepobuildError, OSError) as exc:
        text = exc.message if isinstance(exc, RepobuildError) else str(exc)
        listener(Event(stage="notify", subject=str(repo), state="warning", text=text))
