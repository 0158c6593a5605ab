"""publication.json of a generation: read once by everyone who asks for it."""

from __future__ import annotations

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

RECORD = "publication.json"


def read_record(generation: Path) -> dict[str, Any]:
    """What a generation's record says; nobody may change it. Raises OSError, and ValueError when it is no JSON."""
    path = generation / RECORD
    state = path.stat()
    return _read(path, (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns))


@lru_cache(maxsize=4)  # the current one and that which comes; ten thousand packages are 6 MB
def _read(path: Path, state: tuple[int, ...]) -> dict[str, Any]:
    del state  # a file that is another, or was written to, is read again
    record: dict[str, Any] = json.loads(path.read_bytes())
    return record
