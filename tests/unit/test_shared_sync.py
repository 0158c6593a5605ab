"""Threads that sync one folder share fsyncs, and none returns before one that began after its call."""

from __future__ import annotations

import os
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.store import files
from builder.store.files import SharedSync


class _Disk:
    """fsyncs that end when they are told to."""

    def __init__(self) -> None:
        self.began = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)
        self.count = 0

    def sync(self, _path: Path | str) -> None:
        self.count += 1
        self.began.release()
        self.may_end.acquire()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> _Disk:
    made = _Disk()
    monkeypatch.setattr(files, "sync_path", made.sync)
    return made


def test_who_asks_while_an_fsync_runs_waits_for_the_next_one_which_serves_all_of_them(
    disk: _Disk, tmp_path: Path
) -> None:
    shared = SharedSync()
    with ThreadPoolExecutor(8) as threads:
        first = threads.submit(shared.sync, tmp_path)
        disk.began.acquire()
        others = [threads.submit(shared.sync, tmp_path) for _ in range(5)]
        while shared._last < 6:
            pass  # until all have asked
        disk.may_end.release()
        first.result()
        disk.began.acquire()
        assert not any(other.done() for other in others)
        disk.may_end.release()
        for other in others:
            other.result()
    assert disk.count == 2


def test_a_failure_is_of_who_met_it_and_the_next_tries_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    shared, fails = SharedSync(), [OSError(5, os.strerror(5))]

    def sync(_path: Path | str) -> None:
        if fails:
            raise fails.pop()

    monkeypatch.setattr(files, "sync_path", sync)
    with pytest.raises(OSError, match="Input/output"):
        shared.sync(tmp_path)
    shared.sync(tmp_path)
