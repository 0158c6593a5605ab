"""SIGKILL to repobuild in the middle of a build, or of making a base root: nothing runs on, nothing stays mounted."""

from __future__ import annotations

import multiprocessing
import os
import select
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.build import ChrootBuilder
from builder.model.matrix import Chroot
from builder.store import Store
from tests.lab.distro import make_distro
from tests.memory import roomy_folder
from tests.need import need, need_root
from tests.tools import building

MARK = "876543.25"  # seconds that nobody else sleeps
DEADLINE = 60_000  # milliseconds


def build_for_ever(work: Path, chroot: Chroot) -> None:
    with Store.open(work) as store:
        builder = ChrootBuilder(store)
        spec = building.spec(work.parent / "sources", before=f"sleep {MARK} & sleep {MARK}")
        building.build(builder, spec, builder.prepare(chroot), work.parent / "build")


def make_root(work: Path, chroot: Chroot) -> None:
    with Store.open(work) as store:
        ChrootBuilder(store).prepare(chroot)


def processes(word: str) -> list[int]:
    """Processes with a word in their command line; ours and those that end meanwhile are left out."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            line = (path / "cmdline").read_bytes()
        except OSError:
            continue
        if word.encode() in line.split(b"\0") and int(path.name) != os.getpid():
            found.append(int(path.name))
    return found


def mounts_below(folder: Path) -> list[str]:
    """Lines of any process's mount table that name a folder."""
    lines = []
    for table in Path("/proc").glob("[0-9]*/mountinfo"):
        try:
            lines += [line for line in table.read_text().splitlines() if str(folder) in line]
        except OSError:
            continue
    return lines


def soon_nothing_mounted(folder: Path) -> bool:
    """Process 1, whose the mounts are, ends a moment after what it started."""
    until = time.monotonic() + DEADLINE / 1000
    while mounts_below(folder):
        if time.monotonic() > until:
            return False
        time.sleep(0.01)
    return True


def kill_when(
    target: Callable[[Path, Chroot], None], work: Path, chroot: Chroot, seen: Callable[[], list[int]], minimum: int
) -> None:
    """Start ``target`` in a process of its own, kill that one when enough processes are seen, wait for those to end."""
    process = multiprocessing.get_context("spawn").Process(target=target, args=(work, chroot))
    process.start()
    while len(pids := seen()) < minimum:
        process.join(0.02)
        assert process.exitcode is None, "ended before it could be killed"
    descriptors = [os.pidfd_open(pid) for pid in pids]
    process.kill()
    process.join()
    for descriptor in descriptors:
        poll = select.poll()
        poll.register(descriptor, select.POLLIN)
        assert poll.poll(DEADLINE), "a process of the build lives on"
        os.close(descriptor)


@pytest.fixture
def work(tmp_path: Path) -> Iterator[Path]:
    with roomy_folder(tmp_path) as folder:
        yield folder / "work"


@pytest.fixture
def chroot() -> Chroot:
    need("dnf", "rpmbuild", "unshare", "apt-get")
    need_root()
    return building.lab_chroot(make_distro(), packages=building.SMALL)


def test_a_killed_build_leaves_no_process_no_mount_and_no_folder(chroot: Chroot, work: Path) -> None:
    kill_when(build_for_ever, work, chroot, lambda: processes(MARK), 2)
    assert processes(MARK) == []
    assert soon_nothing_mounted(work)
    with Store.open(work) as store:
        assert list((work / "tmp").iterdir()) == []
        assert ChrootBuilder(store).find(chroot) is not None


def test_a_base_root_that_was_killed_half_made_is_not_taken_for_one(chroot: Chroot, work: Path) -> None:

    def unpacking() -> list[int]:
        return processes(f"--releasever={chroot.releasever}") if list(work.glob("tmp/*/new/root/usr")) else []

    kill_when(make_root, work, chroot, unpacking, 1)
    assert list(work.glob("tmp/*/new/root/usr"))
    assert soon_nothing_mounted(work)
    with Store.open(work) as store:
        assert list((work / "tmp").iterdir()) == []
        assert ChrootBuilder(store).find(chroot) is None
        assert ChrootBuilder(store).prepare(chroot).packages
