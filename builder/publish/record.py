"""publication.json of a generation: read once by everyone who asks for it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RECORD = "publication.json"
_KEPT = 4  # the current one and that which comes; ten thousand packages are 6 MB
_records: dict[tuple[Path, int, int, int, int], dict[str, Any]] = {}


def read_record(generation: Path) -> dict[str, Any]:
    """What a generation's record says; nobody may change it. Raises OSError, and ValueError when it is no JSON."""
    state = _state(generation)
    if state not in _records:
        _keep(state, json.loads((generation / RECORD).read_bytes()))
    return _records[state]


def know_record(generation: Path, document: dict[str, Any]) -> None:
    """What the record of a generation says that was just written: it need not be read."""
    _keep(_state(generation), document)


def _state(generation: Path) -> tuple[Path, int, int, int, int]:
    """A file that is another, or was written to, is read again."""
    path = generation / RECORD
    state = path.stat()
    return path, state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns


def _keep(state: tuple[Path, int, int, int, int], document: dict[str, Any]) -> None:
    while len(_records) >= _KEPT:
        _records.pop(next(iter(_records)), None)
    _records[state] = document
