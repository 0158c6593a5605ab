"""Deterministic ``.tar.gz`` files: the same tree gives the same bytes, whoever unpacked it and when."""

from __future__ import annotations

import gzip
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO

from builder.errors import SourceError

# Level 1: a driver is hundreds of MB of code that hardly shrinks, and rpm unpacks what stays on this machine.
_LEVEL = 1
_COPY = 1 << 20  # bytes


class _Hashing:
    """A write-only file that hashes what goes through."""

    def __init__(self, file: BinaryIO) -> None:
        self.file = file
        self.digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> int:
        self.digest.update(data)
        self.size += len(data)
        return self.file.write(data)

    def flush(self) -> None:
        self.file.flush()


def write_tarball(target: Path, tree: Path, top: str, *, leave_out: frozenset[str], mtime: int) -> tuple[str, int]:
    """Pack a tree below the folder name ``top``; ``leave_out`` names entries of the tree's first level.

    Sorted by path; owner root, modes 0755 or 0644, every time ``mtime``, format GNU tar. Returns sha256 and size.
    Raises SourceError for a device, socket or pipe and for a symlink that leads out of the tree.
    """
    with target.open("wb") as raw:
        hashing = _Hashing(raw)
        with (
            gzip.GzipFile(filename="", mode="wb", compresslevel=_LEVEL, fileobj=hashing, mtime=0) as packed,
            tarfile.TarFile(fileobj=packed, mode="w", format=tarfile.GNU_FORMAT, copybufsize=_COPY) as archive,
        ):
            archive.addfile(_member(tree, top, mtime))
            for path, name in _walk(tree, leave_out):
                entry = _member(path, f"{top}/{name}", mtime)
                if entry.issym():
                    _require_inside(name, entry.linkname)
                if entry.isreg():
                    with path.open("rb") as file:
                        archive.addfile(entry, file)
                else:
                    archive.addfile(entry)
    return hashing.digest.hexdigest(), hashing.size


def is_folder(path: Path) -> bool:
    """A real folder: what foreign code unpacked may be a symlink to one of ours."""
    return path.is_dir() and not path.is_symlink()


def is_file(path: Path) -> bool:
    """A real regular file."""
    return path.is_file() and not path.is_symlink()


def newest_mtime(tree: Path) -> int:
    """Newest modification time of the regular files of a tree, in whole seconds; folders change by being unpacked."""
    times = (path.lstat() for path, _name in _walk(tree, frozenset()))
    return max((int(s.st_mtime) for s in times if stat.S_ISREG(s.st_mode)), default=0)


def _walk(tree: Path, leave_out: frozenset[str], prefix: str = "") -> Iterator[tuple[Path, str]]:
    """Every entry below a tree with its relative name, sorted by that name's parts; symlinks are not followed."""
    with os.scandir(tree) as entries:
        ordered = sorted(entries, key=lambda e: os.fsencode(e.name))
    for entry in ordered:
        name = f"{prefix}{entry.name}"
        if name in leave_out:
            continue
        yield Path(entry.path), name
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path), leave_out, f"{name}/")


def _member(path: Path, name: str, mtime: int) -> tarfile.TarInfo:
    status = path.lstat()
    entry = tarfile.TarInfo(name)
    entry.mtime = mtime
    entry.uname = entry.gname = "root"
    if stat.S_ISLNK(status.st_mode):
        entry.type, entry.mode, entry.linkname = tarfile.SYMTYPE, 0o777, os.readlink(path)  # noqa: PTH115  text kept as is
    elif stat.S_ISDIR(status.st_mode):
        entry.type, entry.mode = tarfile.DIRTYPE, 0o755
    elif stat.S_ISREG(status.st_mode):
        entry.size = status.st_size
        entry.mode = 0o755 if status.st_mode & 0o111 else 0o644
    else:
        raise SourceError(
            f"{name}: neither a file, a folder nor a symlink", hint="this is no driver archive of NVIDIA's"
        )
    return entry


def _require_inside(name: str, target: str) -> None:
    place = os.path.normpath(os.path.join(os.path.dirname(name), target))  # noqa: PTH118, PTH120  pure text
    if os.path.isabs(target) or place.split("/")[0] == "..":  # noqa: PTH117
        raise SourceError(
            f"{name}: a symlink that leads out of the archive (to {target})",
            hint="this is no driver archive of NVIDIA's",
        )
