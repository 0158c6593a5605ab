"""Who uses what the lab keeps below its cache, so that what nobody has used for long can go.

<folder>/<name>         something kept
<folder>/<name>.used    its lock, held by each process that uses it, to its end; its time is that of the last use
"""

from __future__ import annotations

import fcntl
import os
import shutil
import time
from pathlib import Path

_held: dict[Path, int] = {}  # open files, never closed


def hold(place: Path) -> Path:
    """Note that this process uses ``place`` from now on: nobody removes it while it lives. Returns the place.

    To be called under the lock that ``prune`` is called under, before anybody is told of the place.
    """
    if place not in _held:
        descriptor = os.open(_lock(place), os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o644)
        fcntl.flock(descriptor, fcntl.LOCK_SH)
        _held[place] = descriptor
    os.utime(_held[place])
    return place


def prune(folder: Path, *, keep: int, days: float) -> list[Path]:
    """Remove what lies in ``folder``, longest unused first: not the newest ``keep``, nothing used in the last ``days``,
    nothing in use. Returns what went."""
    used = sorted(((_last_use(place), place) for place in folder.iterdir() if _is_kept(place)), reverse=True)
    gone = []
    for last, place in used[keep:]:
        if time.time() - last > days * 86400 and _unused(place):
            gone.append(place)
    return gone


def _is_kept(place: Path) -> bool:
    return place.is_dir() and not place.is_symlink() and not place.suffix


def _last_use(place: Path) -> float:
    lock = _lock(place)
    return (lock if lock.exists() else place).stat().st_mtime


def _unused(place: Path) -> bool:
    """Remove it, unless somebody has it."""
    with _lock(place).open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        shutil.rmtree(place)
        _lock(place).unlink()
    return True


def _lock(place: Path) -> Path:
    return place.with_name(f"{place.name}.used")
