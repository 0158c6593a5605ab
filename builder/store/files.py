"""Durable files: trees synced and removed, operating-system failures in the user's words."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import stat
import threading
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import DiskFullError, StoreError

_FICLONE = 0x40049409  # linux/fs.h
_CHUNK = 1 << 20  # bytes


def os_failure(exc: OSError, path: Path) -> DiskFullError | StoreError:
    """The user-visible form of an operating-system failure under a path of ours."""
    if exc.errno in (errno.ENOSPC, errno.EDQUOT):
        return DiskFullError(
            f"{path}: no space left on device",
            hint="free space and run again: what was finished is kept",
        )
    return StoreError(f"{exc.filename or path}: {exc.strerror or exc}")


def remove_tree(path: Path) -> None:
    """Remove a file or tree, whatever its modes; missing is fine."""
    if path.is_symlink() or not path.is_dir():
        path.unlink(missing_ok=True)
        return
    shutil.rmtree(path, onerror=_force_remove)


def _force_remove(function: Callable[[str], object], path: str, _info: object) -> None:
    with suppress(FileNotFoundError):
        Path(path).parent.chmod(0o700)
        if function is os.rmdir or Path(path).is_dir():
            Path(path).chmod(0o700)
        function(path)


def sync_tree(folder: Path) -> None:
    """fsync every regular file and folder below (and including) a folder."""
    for top, _folders, files in os.walk(folder):
        for name in files:
            path = f"{top}/{name}"
            if stat.S_ISREG(os.lstat(path).st_mode):
                sync_path(path)
        sync_path(top)


def sync_path(path: Path | str) -> None:
    """fsync one file or folder."""
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


class SharedSync:
    """Folders synced by many threads: one fsync for all that asked while the one before it ran."""

    def __init__(self) -> None:
        self._last = 0  # number of who asked last
        self._lock = threading.Lock()
        self._folders: dict[Path, _Synced] = {}

    def sync(self, folder: Path) -> None:
        """Return when all that was done in a folder before the call is on the disk."""
        with self._lock:
            mine = self._last = self._last + 1
            state = self._folders.setdefault(folder, _Synced())
        with state.one_at_a_time:
            if state.upto >= mine:
                return  # an fsync that began after this call has ended
            with self._lock:
                last = self._last
            sync_path(folder)
            state.upto = last


@dataclass(slots=True)
class _Synced:
    """What is known of a folder."""

    one_at_a_time: threading.Lock = field(default_factory=threading.Lock)
    upto: int = 0  # who asked with a number up to this one is served


def link_file(source: Path, target: Path | str) -> bool:
    """Hard-link a file; False where links are impossible (another filesystem, too many links) and it was copied.

    A copy shares its bytes where the filesystem can (a reflink). Raises FileNotFoundError without a source.
    """
    try:
        return _link(source, target)
    except FileNotFoundError:  # asked only now whether the folder is there: they are ten thousand links
        Path(target).parent.mkdir(parents=True, exist_ok=True)
        return _link(source, target)


def _link(source: Path, target: Path | str) -> bool:
    try:
        os.link(source, target)
    except FileNotFoundError:
        raise
    except OSError:
        with source.open("rb") as file, Path(target).open("wb") as copy:
            try:
                fcntl.ioctl(copy, _FICLONE, file.fileno())
            except OSError:
                shutil.copyfileobj(file, copy, _CHUNK)
        return False
    return True


def write_atomic(path: Path, data: bytes) -> bool:
    """Replace a file by one rename unless it holds these bytes already; True when it was written."""
    if path.is_file() and path.read_bytes() == data:
        return False
    fresh = path.parent / f".{path.name}.new"
    fresh.write_bytes(data)
    fresh.chmod(0o644)
    sync_path(fresh)
    fresh.replace(path)
    sync_path(path.parent)
    return True
