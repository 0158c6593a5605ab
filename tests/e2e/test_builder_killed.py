"""SIGKILL to builds alone, as the kernel does where memory is short: the run goes on, to the same publication.

Workers that are killed: test_dask.py; repobuild itself: test_kill.py.
"""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import time
from pathlib import Path

from tests.conftest import Job
from tests.e2e.test_kill import (
    BETWEEN_LOOKS,
    DEADLINE,
    forget,
    nothing_runs_on,
    processes,
    said,
    same_as_undisturbed,
    started,
)

SEED = 7
KILLS = 3
LONGEST = 1000.0  # milliseconds of a random delay: builds of packages take a little more


def builders(work: Path) -> dict[int, int]:
    """Process 1 of each build below a work folder, and who supervises it."""
    found = {}
    for pid, (parent, _birth) in processes().items():
        words = words_of(pid)
        # Its server, its keeper and itself have one command line; it and its keeper write to its log.
        chroot = words[1:4] == [b"-I", b"-m", b"builder.build.inner"] and writes_below(work, pid, parent)
        around = words_of(parent)
        mock = around[0].endswith(b"unshare") and any(
            w.startswith(bytes(work)) and w.endswith(b"/mock") for w in around
        )
        if chroot or mock:
            found[pid] = parent
    return found


def words_of(pid: int) -> list[bytes]:
    """A process's command line, one empty word where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return [b""]


def writes_below(work: Path, *pids: int) -> bool:
    """Do all of these processes have a file below a work folder as their stdout?"""
    try:
        return all(Path(f"/proc/{pid}/fd/1").readlink().is_relative_to(work) for pid in pids)
    except OSError:
        return False


def next_builder(work: Path, known: set[int], process: subprocess.Popen[bytes]) -> int:
    """The process 1 of a build that was not seen before."""
    deadline = time.monotonic() + DEADLINE
    while not (fresh := builders(work).keys() - known):
        assert process.poll() is None, "ended before a build of it could be killed"
        assert time.monotonic() < deadline
        time.sleep(BETWEEN_LOOKS)
    known |= fresh
    return min(fresh)


def kill_after(pid: int, delay: float) -> None:
    """SIGKILL after so many milliseconds, unless it ends before."""
    handle = os.pidfd_open(pid)
    poll = select.poll()
    poll.register(handle, select.POLLIN)
    if not poll.poll(delay):
        signal.pidfd_send_signal(handle, signal.SIGKILL)
    os.close(handle)


def test_builds_that_are_killed_are_tried_again_and_the_publication_is_the_same(tmp_path: Path, whole: Job) -> None:
    """The first at once, others after random times."""
    job = whole.copy(tmp_path, done=False)
    for package in ("nvidia-driver/535.261.03", "nvidia-driver/550.163.01"):
        forget(job, package)
    chance, known = random.Random(SEED), set[int]()
    with started(job) as process:
        for kill in range(KILLS):
            kill_after(next_builder(job.work, known, process), chance.uniform(0, LONGEST) if kill else 0)
        assert process.wait(timeout=DEADLINE) == 0, said(job)
    assert 1 <= said(job).count("the build was killed (SIGKILL); again in ") <= KILLS, said(job)
    nothing_runs_on(job.work)
    same_as_undisturbed(job, whole)
