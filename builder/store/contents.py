"""List what a work folder holds, with sizes and last use; changes nothing."""

from __future__ import annotations

import json
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from builder.model.retention import Stored, StoredFile
from builder.store.store import KINDS, Store

# Which file of a folder says what it is of, and under which key.
_ABOUT = {"results": ("result.json", "unit"), "modules": ("modules.json", "unit"), "roots": ("root.json", "chroot")}


def list_contents(store: Store) -> tuple[Stored, ...]:
    """Everything in the store and the logs, by kind and name; what vanishes meanwhile is left out."""
    found: list[Stored] = []
    for kind in ("sources", *KINDS, "partial"):
        found += _below(kind, store.work / "store" / kind)
    found += (
        item for item in _below("conftest", store.work / "store/conftest") if item.path.suffix == ".answers"
    )  # the lock of that folder stays
    found += _below("logs", store.work / "logs")
    return tuple(found)


def describe_stored(kind: str, path: Path, about: str = "") -> Stored:
    """A file or folder as something that is kept or removed as a whole."""
    return Stored(
        kind=kind,
        name=path.name,
        path=path,
        used=path.stat().st_mtime,
        files=tuple(_files(path)),
        about=about,
    )


def _below(kind: str, folder: Path) -> Iterator[Stored]:
    if not folder.is_dir():
        return
    for path in sorted(folder.iterdir()):
        with suppress(FileNotFoundError):
            yield describe_stored(kind, path, _about(kind, path))


def _about(kind: str, path: Path) -> str:
    if kind in _ABOUT:
        name, key = _ABOUT[kind]
        with suppress(OSError, ValueError, KeyError, TypeError):
            return str(json.loads((path / name).read_text())[key])
        return ""
    if kind in ("sources", "signed"):
        return ", ".join(sorted(p.name for p in path.iterdir() if p.name != "sha256"))
    return ""


def _files(path: Path) -> Iterator[StoredFile]:
    for entry in (path, *path.rglob("*")) if path.is_dir() else (path,):
        with suppress(FileNotFoundError):
            found = entry.lstat()
            if stat.S_ISREG(found.st_mode):
                yield StoredFile(inode=(found.st_dev, found.st_ino), size=found.st_size, links=found.st_nlink)
