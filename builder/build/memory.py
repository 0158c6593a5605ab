"""Build in memory where there is enough of it, else on the store's disk."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from builder.errors import DiskFullError
from builder.store import remove_tree
from builder.tools.machine import available_memory

_MEMORY_FROM = 6 << 30  # bytes of available memory: below, builds work on the disk


def in_memory_or_on_disk(resultdir: Path, memory: int | None, build: Callable[[int], None]) -> None:
    """Call ``build`` with the bytes of memory it may use, and again with 0 (the disk) when that was not enough.

    ``memory`` None: half of what is available; 0: the disk only. The resultdir is emptied in between, and has no RPM
    where the build fails.
    """
    size = spare_memory() if memory is None else memory
    if size:
        try:
            build(size)
        except DiskFullError:
            for leftover in resultdir.iterdir():
                remove_tree(leftover)
        else:
            return
    try:
        build(0)
    except BaseException:
        for half in resultdir.glob("*.rpm"):
            half.unlink()
        raise


def spare_memory(builds: int = 1) -> int:
    """Bytes that each of so many builds may work in: half of what is available, shared; 0 where that is too little."""
    available = available_memory()
    return available // 2 // builds if available >= _MEMORY_FROM else 0
