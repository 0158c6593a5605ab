"""What a .deb says of itself."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.tools.run import run


@dataclass(frozen=True, slots=True, kw_only=True)
class Deb:
    """A .deb with what is asked of it each time."""

    path: Path
    fields: Mapping[str, str]
    sha256: str


def read_deb(path: Path, known: Path) -> Deb:
    """Read a package, once for its name and size: below ``known`` is kept what was read."""
    note = known / f"{path.name}-{path.stat().st_size}.json"
    try:
        return Deb(path=path, **json.loads(note.read_text()))
    except FileNotFoundError:
        deb = Deb(path=path, fields=control(path), sha256=_sha256(path))
    known.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile("w", dir=known, delete=False) as file:
        json.dump({"fields": deb.fields, "sha256": deb.sha256}, file)
    Path(file.name).replace(note)
    return deb


def control(deb: Path) -> dict[str, str]:
    """The control fields of a .deb; continuation lines joined by newlines."""
    fields: dict[str, str] = {}
    key = ""
    for line in run(["dpkg-deb", "-f", deb], timeout=60).stdout.splitlines():
        if line[:1] in (" ", "\t"):
            fields[key] += "\n" + line
        else:
            key, _, value = line.partition(":")
            fields[key] = value.strip()
    return fields


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
