"""What this machine, or the container around this process, has: processors, memory, free disk."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_CGROUP = Path("/sys/fs/cgroup")


def processors() -> int:
    """Processors this process may use: its affinity, or less where a cgroup's quota says so (cgroups(7), cpu.max)."""
    usable = len(os.sched_getaffinity(0))
    quota, _, period = _read(_own_cgroup() / "cpu.max").partition(" ")
    if quota.isdigit() and period.strip().isdigit():
        usable = min(usable, max(1, -(-int(quota) // int(period))))
    return usable


def fitting_builds() -> int:
    """Builds at the same time that these processors suit: each has more than one at its disposal to compile, but on a
    small machine what surrounds compiling, of one thread, would leave the other processor idle.
    """
    return max(min(2, processors()), processors() // 2)


def make_jobs(builds: int) -> int:
    """The ``make -j`` of each of so many builds at a time: all processors for a lone one, of several half as many again
    as its share, for there are always some that link, ask the compiler for its flags or pack, on one processor.
    """
    return processors() if builds <= 1 else max(1, -(-3 * processors() // (2 * builds)))


def available_memory() -> int:
    """Bytes that can be used without swapping: MemAvailable (proc(5)), or what a cgroup's limit still leaves."""
    found = 0
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            found = int(line.split()[1]) << 10
    own = _own_cgroup()
    limit, used = _read(own / "memory.max"), _read(own / "memory.current")
    if limit.isdigit() and used.isdigit():
        found = min(found, max(0, int(limit) - int(used)))
    return found


def free_space(folder: Path) -> int:
    """Bytes that can be written below a folder; of the nearest one that exists."""
    while not folder.exists():
        folder = folder.parent
    return shutil.disk_usage(folder).free


def in_user_namespace() -> bool:
    """Are this process's ids others outside (user_namespaces(7))?"""
    return _read(Path("/proc/self/uid_map")).split() != ["0", "0", "4294967295"]


def _own_cgroup() -> Path:
    """The folder of this process's cgroup (version 2); the top one where it cannot be seen from here."""
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            own = _CGROUP / line[3:].lstrip("/")
            return own if (own / "cgroup.procs").exists() else _CGROUP
    return _CGROUP


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:
        return ""
