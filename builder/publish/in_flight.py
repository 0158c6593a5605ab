"""Files of former generations that stay at their addresses (docs/errata.md, "Clients in flight").

A client that read the former repomd.xml asks for what that one names; a cache in between may hold it for hours. So that
it finds them after the switch, they are linked into the generation that becomes current: metadata, which have their
sha256 in their names, and RPMs, whose names never stand for other bytes. RPMs of a pool are there for all its
generations; those stay that one of them names. ``former.json`` says which (with sha256) and whose; it is no part of the
content. The manifest, which is issued after, lists those files; it does not list ``former.json``, which nobody has to
believe. What only a generation before those had is unlinked.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.errors import PublishError, ToolError
from builder.publish.pool import is_shared, pool_of
from builder.publish.record import RECORD, read_record
from builder.store.files import link_file, sync_path, write_atomic
from builder.tools.createrepo import read_repomd

FORMER = "former.json"


def keep_reachable(target: Path, current: Path | None, number: int, *, tidy: bool = True) -> None:
    """Link what the current generation and those before it had into ``target``, ``number`` of them together.

    Without ``tidy`` nothing is unlinked that ``target`` had of earlier ones. A generation that cannot be read is passed
    over. Killed at any moment it leaves links that the next time sorts out.
    """
    if current == target:
        return
    own = _own(target)
    rows = [] if current is None else [_gone(current, own), *_rows(current)]
    rows = [row for row in rows if row["generation"] != target.name][:number]
    wanted = {file for row in rows for file in row["files"]} - own.keys()
    before = _rows(target)
    pool = pool_of(target)
    if tidy:
        for file in sorted({file for row in before for file in row["files"]} - wanted - own.keys()):
            if pool is None or not is_shared(file):
                (target / file).unlink(missing_ok=True)
    else:
        known = {row["generation"] for row in rows}
        rows = [*rows, *(row for row in before if row["generation"] not in known)]
    touched = set()
    for file in sorted(wanted):
        source, place = (current or target) / file, target / file
        if source.is_file() and not place.exists() and _has_place(target, file):
            if pool is not None and is_shared(file):
                pool.add(source, file)
            else:
                link_file(source, place)
            touched.add(place.parent)
    for folder in sorted(touched):
        sync_path(folder)
    if rows or (target / FORMER).exists():
        write_atomic(target / FORMER, (json.dumps(rows) + "\n").encode())


def _has_place(target: Path, file: str) -> bool:
    """A stream that is gone has no tree; RPMs' folders are made where they are missing."""
    return is_shared(file) or (target / file).parent.is_dir()


def former_files(generation: Path) -> dict[str, str]:
    """sha256 of each file that a generation has of former ones, by its place in it."""
    return {file: sha256 for row in _rows(generation) for file, sha256 in row["files"].items()}


def named_rpms(generation: Path) -> dict[str, str]:
    """sha256 of the RPMs that a generation has, its own and those of former ones, by their places in it.

    Raises PublishError when its record cannot be read.
    """
    try:
        own = {row["file"]: row["sha256"] for row in read_record(generation)["packages"]}
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise PublishError(f"{generation / RECORD}: damaged: {exc}", hint="move this generation away") from exc
    return {**{file: sha256 for file, sha256 in former_files(generation).items() if is_shared(file)}, **own}


def _gone(former: Path, own: Mapping[str, str]) -> dict[str, Any]:
    """What a generation has that the next has not; what both have the next one's own row tells when it is former."""
    files = {file: sha256 for file, sha256 in _own(former).items() if own.get(file) != sha256}
    return {"generation": former.name, "files": dict(sorted(files.items()))}


def _own(generation: Path) -> dict[str, str]:
    """What a generation's own metadata and record name, with its sha256; nothing where they cannot be read."""
    try:
        record = read_record(generation)
        packages = {str(row["file"]): str(row["sha256"]) for row in record["packages"]}
        return {**packages, **dict(_metadata(generation))}
    except (OSError, ValueError, KeyError, TypeError, ToolError):
        return {}


def _metadata(generation: Path) -> Iterator[tuple[str, str]]:
    for repomd in (generation / "repodata/repomd.xml", *sorted(generation.glob("streams/*/repodata/repomd.xml"))):
        if repomd.is_file():
            tree = repomd.parents[1].relative_to(generation)
            yield from ((str(tree / record.href), record.sha256) for record in read_repomd(repomd))


def _rows(generation: Path) -> list[dict[str, Any]]:
    """Newest first: ``generation``, and ``files``: sha256 by place."""
    try:
        rows = json.loads((generation / FORMER).read_text())
        return [
            {"generation": str(r["generation"]), "files": {str(f): str(s) for f, s in r["files"].items()}} for r in rows
        ]
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return []
