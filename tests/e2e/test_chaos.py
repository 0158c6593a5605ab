"""What machines do to a run: clocks that jump, folders that cannot be written, damaged files, somebody else at work.

Each ends with a word for people and the publication of an undisturbed run (kill -9: test_kill.py; full disks:
test_bad_input.py).
"""

from __future__ import annotations

import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from builder.store.store import KINDS
from tests.conftest import Job
from tests.e2e.test_kill import DEADLINE, forget, nothing_runs_on, said, same_as_undisturbed, wait_for
from tests.need import need

# A private /etc in which every program on this machine's side is told another time.
CLOCK = """mount -t tmpfs clock "$1" && mkdir "$1/upper" "$1/work" &&
mount -t overlay -o "lowerdir=/etc,upperdir=$1/upper,workdir=$1/work" clock /etc &&
echo "$2" > /etc/ld.so.preload && echo "$3" > /etc/faketimerc && shift 3 && exec "$@"
"""


def faketime() -> Path:
    """The library that tells programs another time."""
    need("faketime")
    return next(Path("/usr").glob("lib*/**/faketime/libfaketimeMT.so.1"))


def at_another_time(folder: Path, shift: str, argv: Sequence[str], *, at_first: bool = True) -> list[str]:
    """The argv that runs a program, and all that it starts, with the clock shifted (as faketime writes it).

    Without ``at_first`` they have today's, until somebody names the library in that /etc.
    """
    library = faketime() if at_first else ""
    folder.mkdir()
    words = ["unshare", "-m", "--propagation", "private", "sh", "-c", CLOCK, "sh"]
    return [*words, str(folder), str(library), shift, *argv]


def test_a_clock_that_jumps_changes_no_byte(tmp_path: Path, whole: Job) -> None:
    """Years ahead, killed there, and gone on with today; years before the key was made nothing is started."""
    job = whole.copy(tmp_path / "job", kinds=[kind for kind in KINDS if kind not in ("modules", "signed")], done=False)
    for package in ("kmod-nvidia/535.261.03", "nvidia-driver/535.261.03"):
        forget(job, package)
    early = at_another_time(tmp_path / "early", "-3650d", job.argv("matrix"))
    done = subprocess.run(early, capture_output=True, text=True, check=False)
    assert done.returncode == 40, done.stderr
    assert "was made later than this machine's clock shows" in done.stderr
    assert ": build started" not in done.stderr
    late = at_another_time(tmp_path / "late", "+1000d", job.argv("matrix", "--jobs", "1"))
    with (job.config.parent / "stderr").open("wb") as stderr:
        process = subprocess.Popen(late, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            wait_for(job, ": build done", process)
        finally:
            process.kill()
            process.wait(timeout=DEADLINE)
    assert ": build done" in said(job)
    assert process.returncode == -signal.SIGKILL
    nothing_runs_on(job.work)
    job.run("matrix")
    same_as_undisturbed(job, whole)


# repobuild with a clock of its own, which is shifted as the file says; what it starts is told so by the library.
SHIFTED = """import time
from pathlib import Path
told, now = Path("/etc/faketimerc"), time.time
time.time = lambda: now() + float(told.read_text().strip().removesuffix("d") or 0) * 86400
from builder.cli import main
main()
"""


def test_a_clock_that_jumps_in_mid_run_changes_no_byte(tmp_path: Path, whole: Job) -> None:
    """A year ahead when a build has begun, back when one is done; what measures time passed goes on evenly."""
    job = whole.copy(tmp_path / "job", done=False)
    for version in ("535.261.03", "550.163.01"):
        forget(job, f"nvidia-driver/{version}")
    repobuild = [sys.executable, "-c", SHIFTED, *job.argv("matrix", "--jobs", "1")[1:]]
    # The library itself cannot jump under a program that sleeps: it is there for what is started later.
    argv = at_another_time(tmp_path / "clock", "+0d", repobuild, at_first=False)
    with (job.config.parent / "stderr").open("wb") as stderr:
        process = subprocess.Popen(argv, stdout=subprocess.DEVNULL, stderr=stderr)
        try:
            etc = Path(f"/proc/{process.pid}/root/etc")  # in its mounts
            wait_for(job, ": build started", process)
            (etc / "faketimerc").write_text("+400d\n")
            (etc / "ld.so.preload").write_text(f"{faketime()}\n")
            wait_for(job, ": build done", process)
            (etc / "faketimerc").write_text("+0d\n")
            assert process.wait(timeout=DEADLINE) == 0, said(job)
        finally:
            process.kill()
            process.wait(timeout=DEADLINE)
    with closing(sqlite3.connect(f"file:{job.work}/ledger.sqlite?mode=ro", uri=True)) as ledger:
        (last,) = ledger.execute("SELECT max(finished) FROM results").fetchone()
    assert last > time.time() + 399 * 86400  # the jump was seen
    nothing_runs_on(job.work)
    same_as_undisturbed(job, whole)


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Nothing can be written below a folder, not even by root."""
    subprocess.run(["mount", "--bind", folder, folder], check=True)
    try:
        subprocess.run(["mount", "-o", "remount,bind,ro", folder], check=True)
        yield
    finally:
        subprocess.run(["umount", folder], check=True)


def test_a_work_folder_that_cannot_be_written_is_told_and_harms_nothing(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path / "job")
    forget(job, "nvidia-driver/535.261.03")
    with read_only(job.work):
        error = job.json("matrix", code=60)["error"]
        assert "Read-only file system" in error["message"]
        assert str(job.work) in error["message"]
    job.run("matrix")
    same_as_undisturbed(job, whole)


def test_a_repository_that_cannot_be_written_keeps_its_publication(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path / "job")
    with read_only(job.repo):
        assert "Read-only file system" in job.run("matrix", code=50).stderr
        job.verify()
    job.run("matrix")
    same_as_undisturbed(job, whole)


def rpm_of(job: Job, package: str) -> Path:
    """An RPM in the store's results."""
    return next((job.work / "store/results").glob(f"*/{package}-[0-9]*.x86_64.rpm"))


def test_a_result_that_was_cut_short_is_named_and_built_again(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path / "job", done=False)
    rpm = rpm_of(job, "nvidia-driver")
    data = rpm.read_bytes()
    rpm.unlink()  # its name here is one of several
    rpm.write_bytes(data[:-100])
    error = job.json("matrix", code=60)["error"]
    assert str(rpm) in error["message"]
    assert f"remove {rpm.parent}" in error["hint"]
    subprocess.run(["rm", "-r", rpm.parent], check=True)
    job.run("matrix")
    same_as_undisturbed(job, whole)


@pytest.mark.parametrize("kind", ["results", "signed"])
def test_a_flipped_byte_in_the_store_is_never_published(tmp_path: Path, whole: Job, kind: str) -> None:
    job = whole.copy(tmp_path / "job", done=False)
    if kind == "results":
        subprocess.run(["rm", "-r", job.work / "store/signed"], check=True)
    rpm = next((job.work / "store" / kind).glob("**/nvidia-driver-[0-9]*.x86_64.rpm"))
    data = bytearray(rpm.read_bytes())
    rpm.unlink()
    data[-50] ^= 1
    rpm.write_bytes(data)
    job.run("matrix", code=50)
    assert not job.published.is_symlink()


def test_two_orchestrators_of_one_repository_end_in_one_publication(tmp_path: Path, whole: Job) -> None:
    first = whole.copy(tmp_path / "first", done=False)
    second = replace(whole.copy(tmp_path / "second", done=False), repo=first.repo)
    running = [subprocess.Popen(job.argv("matrix"), stderr=subprocess.DEVNULL) for job in (first, second)]
    codes = [process.wait(timeout=DEADLINE) for process in running]
    assert set(codes) <= {0, 50}  # one may find the other publishing
    assert 0 in codes
    for job in (first, second):
        job.run("matrix")
        same_as_undisturbed(job, whole)
