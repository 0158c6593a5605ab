"""One piece of work as a whole: its deadline, its stop, the memory of all that it started, whoever started it.

The worker pool opens a ``Supervision`` around a task; ``tools/run.py`` heeds it for each process. Threads that a task
starts belong to it when they run in a copy of its context (``contextvars.copy_context``).
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from threading import Event, Lock

_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(slots=True, kw_only=True, eq=False)
class Supervision:
    """What is known of one task while it runs. Methods may be called from any thread."""

    limit: float | None = None  # seconds for all of it
    started: float = field(default_factory=time.monotonic)
    stopped: Event = field(default_factory=Event)  # nothing more of it is started
    peak: int = 0  # bytes: largest memory of its processes together, as far as it was looked at
    _groups: set[int] = field(default_factory=set)  # processes that run() started and that live
    _lock: Lock = field(default_factory=Lock)

    @property
    def elapsed(self) -> float:
        """Seconds since it was started."""
        return time.monotonic() - self.started

    def left(self) -> float | None:
        """Seconds until its deadline, 0 when that has passed, None where it has none."""
        return None if self.limit is None else max(0.0, self.limit - self.elapsed)

    @property
    def expired(self) -> bool:
        """Has its deadline passed?"""
        return self.left() == 0.0

    def add(self, pid: int) -> None:
        """A process of it was started."""
        with self._lock:
            self._groups.add(pid)

    def remove(self, pid: int) -> None:
        """That process has ended."""
        with self._lock:
            self._groups.discard(pid)

    def living(self) -> tuple[int, ...]:
        """The processes that were added and not removed."""
        with self._lock:
            return tuple(self._groups)

    def measure(self) -> None:
        """Look at the memory that its processes use now."""
        used = sum(_memory(pid) for group in self.living() for pid in family(group))
        with self._lock:
            self.peak = max(self.peak, used)


_current: ContextVar[Supervision | None] = ContextVar("supervision", default=None)


def current() -> Supervision | None:
    """The supervision of the task that calls, None outside of one."""
    return _current.get()


@contextmanager
def supervised(supervision: Supervision) -> Iterator[Supervision]:
    """What the block does belongs to this supervision."""
    token = _current.set(supervision)
    try:
        yield supervision
    finally:
        _current.reset(token)


def family(pid: int) -> tuple[int, ...]:
    """A process and everything below it that lives, parents first (proc(5), /proc/<pid>/task/<tid>/children)."""
    found = [pid]
    for parent in found:  # grows
        tasks = f"/proc/{parent}/task"
        try:
            threads = os.listdir(tasks)  # noqa: PTH208  a look is taken twice a second, and pathlib is most of its time
        except OSError:  # the process has just ended
            continue
        for thread in threads:
            found.extend(int(word) for word in _read(f"{tasks}/{thread}/children").split())
    return tuple(found)


def _memory(pid: int) -> int:
    """Bytes that a process has for itself: resident without what it shares with files and others (proc(5), statm)."""
    words = _read(f"/proc/{pid}/statm").split()
    if len(words) < 3:
        return 0
    _size, resident, shared, *_ = words
    return max(0, int(resident) - int(shared)) * _PAGE


def _read(path: str) -> bytes:
    """A file of /proc; nothing where its process has just ended."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return b""
    try:
        return os.read(fd, 1 << 16)
    except OSError:
        return b""
    finally:
        os.close(fd)
