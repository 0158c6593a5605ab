"""Locks of one work folder, between processes of one machine: one writer, and no removal while somebody looks."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from builder.errors import LockedError
from builder.store.files import os_failure

READERS = "readers"


def hold_off_removals(path: Path) -> int | None:
    """Hold off removals while a reader looks; None in a store that cannot be written, where nothing is removed."""
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError:
        return None
    fcntl.flock(fd, fcntl.LOCK_SH)
    return fd


def take_lock(path: Path) -> int:
    """Become the writer of the folder that ``path`` lies in; raises LockedError while another one is.

    A folder that cannot be written raises what ``os_failure`` makes of it.
    """
    try:
        fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as exc:  # a disk that was remounted read-only after an error, say
        raise os_failure(exc, path) from exc
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as exc:
        owner = os.pread(fd, 200, 0).decode(errors="replace").strip() or "unknown"
        os.close(fd)
        raise LockedError(
            f"{path.parent}: another repobuild works here (process {owner})",
            hint="wait for it, or give this run a --work folder of its own",
        ) from exc
    os.ftruncate(fd, 0)
    os.pwrite(fd, f"{os.getpid()}\n".encode(), 0)
    return fd


@contextmanager
def no_reader(path: Path) -> Iterator[None]:
    """Wait until nobody looks, and keep others waiting meanwhile."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
