"""Files at the top of a repository that speak of all its current publications; not part of any of them."""

from __future__ import annotations

import json
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

from builder.publish.generations import Repository
from builder.publish.order import Role, role_of
from builder.publish.record import RECORD
from builder.publish.tree_files import root_files
from builder.store.files import write_atomic

SUPPORT = "support-matrix.json"  # in a generation
Bytes: TypeAlias = bytes | Callable[[], bytes]  # the latter is asked when the file is written


@dataclass(frozen=True, slots=True, kw_only=True)
class CurrentSupport:
    """What a current generation says it supports."""

    digest: str
    made: float  # when it was written, seconds
    document: Mapping[str, Any]


def update_site(
    repo: Path,
    compose: Callable[[tuple[CurrentSupport, ...], Callable[[str], bytes]], Mapping[str, Bytes]],
    logs_of: Callable[[Mapping[str, Any]], Collection[str]],
) -> tuple[str, ...]:
    """Write what ``compose`` makes of all current generations, each file by one rename, under the repository's lock.

    ``compose`` also gets what reads a file of before (``b""`` where there is none). A generation without a readable
    support matrix is passed over. Logs go that no generation on disk has a link to, by what ``logs_of`` says of its
    support matrix. Returns the names of files that changed.
    """
    repository = Repository(repo)
    with repository.writing():
        files = compose(_current(repository), lambda name: _read(repository.root / name))
        changed = []
        for name, data in files.items():
            (repository.root / name).parent.mkdir(mode=0o755, exist_ok=True)
            if write_atomic(repository.root / name, data() if callable(data) else data):
                changed.append(name)
        logs = [name for name in root_files(repository.root) if role_of(name) is Role.LOG]
        needed = {log for folder in (repository.folders() if logs else ()) for log in logs_of(_support(folder) or {})}
        for name in set(logs) - needed:
            (repository.root / name).unlink()
        return tuple(changed)


def _read(path: Path) -> bytes:
    return path.read_bytes() if path.is_file() else b""


def _current(repository: Repository) -> tuple[CurrentSupport, ...]:
    found = []
    for link in sorted(repository.root.glob("*/*")):
        if not link.is_symlink() or link.resolve().parent != repository.generations.resolve():
            continue
        document = _support(link)
        if document is not None:
            made = (link / RECORD).stat().st_mtime
            found.append(CurrentSupport(digest=link.readlink().name, made=made, document=document))
    return tuple(found)


def _support(folder: Path) -> dict[str, Any] | None:
    """The support matrix of a whole generation; None where it cannot be read, or is of a version without one."""
    try:
        document: dict[str, Any] = json.loads((folder / SUPPORT).read_text())
        (folder / RECORD).stat()
    except (OSError, ValueError):
        return None
    return document if {"distribution", "arch", "kernels", "cells", "streams", "branches"} <= document.keys() else None
