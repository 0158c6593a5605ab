"""What a publication means for hosts as an event: JSON for programs, an Atom feed (RFC 4287) for people. Pure."""

from __future__ import annotations

import json
import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any
from xml.etree import ElementTree as ET

from builder.report.difference import Difference
from builder.report.lifetimes import leaving_soon

SCHEMA = 1
EVENTS_FILE = "events.json"
FEED_FILE = "feed.atom"
_KEPT = 100  # events in both files
_ATOM = "http://www.w3.org/2005/Atom"
# What a character of XML 1.0 cannot be; text comes from configuration files.
_FORBIDDEN = dict.fromkeys((*range(9), 11, 12, *range(14, 32), 65534, 65535), " ")


def publication_event(
    *,
    now: float,
    kind: str,
    distribution: str,
    arch: str,
    digest: str,
    former: str | None,
    url: str,
    change: Difference | None,
    support: Mapping[str, Any],
    advisories: Sequence[str],
) -> dict[str, Any]:
    """One event: ``schema, id, time, kind, distribution, arch, digest, former, url, hosts, packages, streams, kernels,
    advisories, leaving``.

    ``now``: seconds since the epoch. ``kind``: publication or rollback. ``change`` is None where there was nothing
    before, or where that is gone. ``advisories`` are the ids that were not there before.
    """
    time = datetime.fromtimestamp(int(now), UTC).isoformat().replace("+00:00", "Z")
    identity = json.dumps([distribution, arch, digest, former, time, url])
    document = change.document() if change is not None else {}
    nothing: dict[str, list[str]] = {"added": [], "removed": []}
    return {
        "schema": SCHEMA,
        "id": uuid.uuid5(uuid.NAMESPACE_URL, identity).urn,
        "time": time,
        "kind": kind,
        "distribution": distribution,
        "arch": arch,
        "digest": digest,
        "former": former,
        "url": url,
        "hosts": list(document.get("hosts", ())),
        **{name: document.get(name, nothing) for name in ("packages", "streams", "kernels")},
        "advisories": list(advisories),
        "leaving": leaving_soon(support, datetime.fromtimestamp(now, UTC).date()),
    }


def events_json(events: Sequence[Mapping[str, Any]]) -> bytes:
    """The newest events, newest first."""
    document = {"schema": SCHEMA, "events": list(events)[:_KEPT]}
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def atom_feed(events: Sequence[Mapping[str, Any]], *, address: str, author: str) -> bytes:
    """The same events as a feed that is found at ``address``/feed.atom. Equal events give equal bytes."""
    ET.register_namespace("", _ATOM)
    feed = ET.Element(f"{{{_ATOM}}}feed")
    _text(feed, "id", uuid.uuid5(uuid.NAMESPACE_URL, f"{address}/{FEED_FILE}").urn)
    _text(feed, "title", f"{author}: NVIDIA driver publications")
    _text(feed, "updated", str(events[0]["time"]) if events else "1970-01-01T00:00:00Z")
    _text(ET.SubElement(feed, f"{{{_ATOM}}}author"), "name", author)
    ET.SubElement(feed, f"{{{_ATOM}}}link", rel="self", href=f"{address}/{FEED_FILE}", type="application/atom+xml")
    for event in list(events)[:_KEPT]:
        _entry(feed, event)
    ET.indent(feed)
    text = ET.tostring(feed, encoding="unicode")
    return f"<?xml version='1.0' encoding='utf-8'?>\n{text}\n".encode()


def _entry(feed: ET.Element, event: Mapping[str, Any]) -> None:
    entry = ET.SubElement(feed, f"{{{_ATOM}}}entry")
    lines = event_lines(event)
    _text(entry, "id", str(event["id"]))
    _text(entry, "title", lines[0])
    _text(entry, "updated", str(event["time"]))
    ET.SubElement(entry, f"{{{_ATOM}}}link", rel="alternate", href=f"{event['url']}/support-matrix.html")
    ET.SubElement(entry, f"{{{_ATOM}}}category", term=f"{event['distribution']}/{event['arch']}")
    _text(entry, "content", "\n".join(lines[1:]) or lines[0]).set("type", "text")


def event_lines(event: Mapping[str, Any]) -> list[str]:
    """An event in words: a title, then a sentence each, hosts first."""
    where = f"{event['distribution']}/{event['arch']}"
    verb = "went to another publication" if event["kind"] == "rollback" else "was published"
    added, removed = (len(event["packages"][name]) for name in ("added", "removed"))
    counts = f"{added} packages came, {removed} left" if event["former"] else "the first that is told of"
    return [
        f"{where} {verb}: {event['hosts'][0] if event['hosts'] else counts}",
        *event["hosts"],
        *(f"advisory {name}" for name in event["advisories"]),
        *(f"{row['what']} leaves on {row['leaves']}: {row['why']}" for row in event["leaving"]),
        f"{counts}; digest {event['digest']}",
    ]


def _text(parent: ET.Element, name: str, text: str) -> ET.Element:
    element = ET.SubElement(parent, f"{{{_ATOM}}}{name}")
    element.text = text.translate(_FORBIDDEN)
    return element
