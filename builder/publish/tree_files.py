"""The files of a generation as a place without links has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from builder.errors import PublishError
from builder.publish.in_flight import named_rpms
from builder.publish.order import LOGS, Role, role_of
from builder.publish.pool import pool_of
from builder.publish.trees import STREAMS
from builder.tools.createrepo import read_primary, read_repomd


def own_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every regular file below a generation's folder with its path relative to it; links are not followed. Of its pool
    what it names.
    """
    for top, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(top, name)
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(folder)), path
    if pool_of(folder) is not None:
        yield from ((file, folder / file) for file in sorted(named_rpms(folder)) if (folder / file).is_file())


def shared_rpms(generation: Path) -> tuple[Path, ...]:
    """Real paths of the RPMs that a generation has in a pool; none where it has none, or its record is damaged."""
    pool = pool_of(generation)
    try:
        names = sorted(named_rpms(generation)) if pool is not None else ()
    except PublishError:
        return ()
    return tuple(pool.folder / name for name in names if pool is not None and (pool.folder / name).is_file())


def flat_files(folder: Path) -> dict[str, Path]:
    """As ``own_files``, with what the trees of streams list and reach through their links to the pool."""
    found = dict(own_files(folder))
    for tree in sorted((folder / STREAMS).glob("*")):
        for record in read_repomd(tree / "repodata/repomd.xml"):
            if record.type == "primary":
                for package in read_primary(tree / record.href):
                    found[f"{STREAMS}/{tree.name}/{package.href}"] = tree / package.href
    return found


def root_files(root: Path) -> dict[str, Path]:
    """What lies beside the distributions: keys, ``.repo`` files, pages, their logs and what else is published there."""
    plain = {p.name: p for p in sorted(root.iterdir()) if _is_plain(p) and p.name[0] != "."}
    logs = {f"{LOGS}/{p.name}": p for p in sorted((root / LOGS).glob("*.log")) if _is_plain(p)}
    return {**plain, **{name: path for name, path in logs.items() if role_of(name) is Role.LOG}}


def _is_plain(path: Path) -> bool:
    return path.is_file() and not path.is_symlink()
