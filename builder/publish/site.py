"""Files at the top of a repository that speak of all its current publications; not part of any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from builder.publish.generations import Repository
from builder.publish.record import RECORD
from builder.store.files import write_atomic

SUPPORT = "support-matrix.json"  # in a generation
Bytes: TypeAlias = bytes | Callable[[], bytes]  # the latter is asked when the file is written
LOGS = "logs"  # at the top of a repository: logs/<name>.log


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSupport:
    """What a current generation says it supports."""

    digest: str
    made: float  # when it was written, seconds
    document: Mapping[str, Any]


def update_site(
    repo: Path, compose: Callable[[tuple[CurrentSupport, ...], Callable[[str], bytes]], Mapping[str, Bytes]]
) -> tuple[str, ...]:
    """Write what ``compose`` makes of all current generations, each file by one rename, under the repository's lock.

    ``compose`` also gets what reads a file of before (``b""`` where there is none). A generation without a readable
    support matrix is passed over. Returns the names of files that changed.
    """
    repository = Repository(repo)
    with repository.writing():
        files = compose(_current(repository), lambda name: _read(repository.root / name))
        changed = []
        for name, data in files.items():
            (repository.root / name).parent.mkdir(mode=0o755, exist_ok=True)
            if write_atomic(repository.root / name, data() if callable(data) else data):
                changed.append(name)
        return tuple(changed)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _current(repository: Repository) -> tuple[CurrentSupport, ...]:
    found = []
    for link in sorted(repository.root.glob("*/*")):
        if not link.is_symlink() or link.resolve().parent != repository.generations.resolve():
            continue
        try:
            document = json.loads((link / SUPPORT).read_text())
            made = (link / RECORD).stat().st_mtime
        except (OSError, ValueError):
            continue
        if {"distribution", "arch", "kernels", "cells", "streams", "branches"} <= document.keys():
            found.append(CurrentSupport(digest=link.readlink().name, made=made, document=document))
    return tuple(found)
