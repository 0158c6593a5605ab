"""The files of a generation as a place without links has them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from builder.publish.order import LOGS, Role, role_of
from builder.publish.trees import STREAMS
from builder.tools.createrepo import read_primary, read_repomd


def own_files(folder: Path) -> Iterator[tuple[str, Path]]:
    """Every regular file below a folder with its path relative to it; links are not followed."""
    for top, folders, files in os.walk(folder):
        folders.sort()
        for name in sorted(files):
            path = Path(top, name)
            if path.is_file() and not path.is_symlink():
                yield str(path.relative_to(folder)), path


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
