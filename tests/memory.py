"""Folders in memory for what is made, looked at and thrown away: trees of thousands of files.

A disk pays for them twice. ext4 without a journal, which small virtual machines have, looks at every inode that was
removed during the last minutes before it gives out another: after 20,000 files went, 20,000 new ones cost ten times as
much (docs/adr/0036). Where there is little memory everything lies on the disk as ever.
"""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MEMORY = Path("/dev/shm")
_PREFIX = "repobuild-tests-"


def roomy(gib: int) -> bool:
    """Whether a folder in memory can hold so much, half as much being left for programs; and programs run from it."""
    if not MEMORY.is_dir() or os.statvfs(MEMORY).f_flag & os.ST_NOEXEC:
        return False
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", Path("/proc/meminfo").read_text(), re.MULTILINE)
    available = int(found[1]) << 10 if found else 0
    return shutil.disk_usage(MEMORY).free >= gib << 30 and available >= (gib << 30) * 3 // 2


@contextmanager
def roomy_folder(otherwise: Path, gib: int = 4) -> Iterator[Path]:
    """A folder that goes with the context: in memory where so much is free, else in ``otherwise``."""
    with tempfile.TemporaryDirectory(dir=MEMORY if roomy(gib) else otherwise, prefix="repobuild-test-") as folder:
        yield Path(folder)


def session_folder(gib: int) -> Path | None:
    """Where a run of pytest may have its folders to the end of this process; None where there is too little memory.

    What runs left that have ended is removed: those that failed are looked at by now.
    """
    if not roomy(gib):
        return None
    with (MEMORY / f"{_PREFIX}lock").open("w") as lock:  # one after the other: nobody meets a run that is beginning
        fcntl.flock(lock, fcntl.LOCK_EX)
        for held in MEMORY.glob(f"{_PREFIX}*.held"):
            with held.open("w") as other, suppress(BlockingIOError):
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
                remove(held.with_suffix(""))
                held.unlink()
        descriptor, name = tempfile.mkstemp(dir=MEMORY, prefix=_PREFIX, suffix=".held")
        fcntl.flock(descriptor, fcntl.LOCK_EX)  # never closed
    return Path(name).with_suffix("")


def in_memory(folder: Path) -> bool:
    return folder.is_relative_to(MEMORY)


def remove(folder: Path) -> None:
    """Remove a folder, unless something is mounted in it: that would be emptied, too."""
    if folder.is_symlink():
        folder.unlink()
    elif not any(mount.is_relative_to(folder) for mount in mounts()):
        shutil.rmtree(folder, ignore_errors=True)


def mounts() -> list[Path]:
    """Where something is mounted; a space in a name as the kernel writes it."""
    return [Path(line.split()[4]) for line in Path("/proc/self/mountinfo").read_text().splitlines()]
