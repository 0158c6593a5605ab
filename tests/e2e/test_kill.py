"""kill -9 at any moment, then again: the same publication as an undisturbed run, nothing left behind."""

from __future__ import annotations

import random
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from tests.conftest import Job
from tests.tools.test_build_killed import mounts_below

MOMENTS = (  # what the run has just said when it is killed, in the order in which it says them
    "fetch started",
    "buildroot started",
    "buildroot done",
    "build started",
    "build done",
    "qualify done",
    "nvidia-driver:550.163.01@lab9.x86_64: build started",
    "nvidia-kmod-common-open:535.261.03@lab9.x86_64: build started",
    "sign started",
    "sign done",
    "publish started",
)
SEEDS = (20, 35, 50)
LONGEST = 4.0  # seconds of a random delay: a run that has its buildroot takes two to four times as long
DEADLINE = 1200.0  # seconds: with mock on a busy machine a small package takes most of a minute
BETWEEN_LOOKS = 0.01  # seconds


def test_killed_at_each_step_a_rerun_ends_in_the_same_publication(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path, kinds=(), done=False)
    for moment in MOMENTS:
        with started(job) as process:
            wait_for(job, moment, process)
            _kill(job, process)
        text = said(job)
        assert moment in text
        assert process.returncode == -signal.SIGKILL, f"ended before it was killed at: {moment}\n{text}"
        nothing_half_written(job)
    job.run("matrix")
    same_as_undisturbed(job, whole)


def test_killed_after_random_times_a_rerun_ends_in_the_same_publication(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path, kinds=("roots",), done=False)
    killed = 0
    for seed in SEEDS:
        with started(job) as process:
            try:
                process.wait(timeout=random.Random(seed).uniform(0.2, LONGEST))
            except subprocess.TimeoutExpired:
                killed += 1
                _kill(job, process)
        nothing_half_written(job)
    assert killed
    job.run("matrix")
    same_as_undisturbed(job, whole)


def test_ctrl_c_keeps_what_was_finished(tmp_path: Path, whole: Job, generic: list[str]) -> None:
    job = whole.copy(tmp_path, done=False)
    forget(job, "kmod-nvidia/535.261.03")
    forget(job, "nvidia-driver/535.261.03")
    with started(job) as process:
        wait_for(job, "nvidia-driver:535.261.03@lab9.x86_64: build started", process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE) == 130
    nothing_runs_on(job.work)
    assert f"r535-open@{generic[0]}: build done" in said(job)
    assert "it goes on from there" in said(job)
    assert job.json("status")["failures"] == []
    text = said(job)  # the build that was stopped may just have ended: then it is kept, too
    units = {u["id"]: u["reason"] for u in job.json("matrix")["units"]}
    for unit in (f"r535-open@{generic[0]}", "nvidia-driver:535.261.03@lab9.x86_64"):
        assert units[unit] == ("reused" if f"{unit}: build done" in text else "built")
    same_as_undisturbed(job, whole)


def forget(job: Job, package: str) -> None:
    """Take the result of a package out of the store."""
    results = [p.parent for p in (job.work / "store/results").glob("*/result.json") if f"/{package}" in p.read_text()]
    assert len(results) == 1
    shutil.rmtree(results[0])


@contextmanager
def started(job: Job, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """``repobuild matrix``, one build at a time, saying what it does to a file; it has ended afterwards."""
    with (job.config.parent / "stderr").open("wb") as stderr:
        process = subprocess.Popen(
            job.argv("matrix", "--jobs", "1", *more),
            stdout=subprocess.DEVNULL,
            stderr=stderr,
            preexec_fn=_hear_ctrl_c,  # noqa: PLW1509  no thread of ours runs
        )
    try:
        yield process
    finally:
        process.kill()
        process.wait(timeout=DEADLINE)


def _hear_ctrl_c() -> None:
    """A test that runs in the background, or in a worker, has it ignored, and so would what it starts."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def said(job: Job) -> str:
    return (job.config.parent / "stderr").read_text()


def wait_for(job: Job, moment: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + DEADLINE
    while moment not in said(job) and process.poll() is None:
        assert time.monotonic() < deadline, said(job)[-2000:]
        time.sleep(BETWEEN_LOOKS)


def _kill(job: Job, process: subprocess.Popen[bytes]) -> None:
    """SIGKILL to repobuild alone; everything that it had started ends, and nothing stays mounted."""
    started = _descendants(process.pid)
    process.kill()
    process.wait(timeout=DEADLINE)
    nothing_runs_on(job.work, started)


def nothing_runs_on(work: Path, started: dict[int, str] | None = None) -> None:
    deadline = time.monotonic() + DEADLINE
    while left := _running(work, started or {}):
        assert time.monotonic() < deadline, left
        time.sleep(BETWEEN_LOOKS)
    assert mounts_below(work) == []


def _running(work: Path, started: dict[int, str]) -> list[str]:
    """Command lines of processes that are among ``started`` or work below this folder."""
    found = []
    for pid, (_parent, birth) in processes().items():
        try:
            words = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            places = [str(Path(f"/proc/{pid}/{name}").readlink()) for name in ("root", "cwd")]
        except OSError:
            continue
        for name in ("fd/1", "fd/2"):  # what a server forked has nothing of its work in its command line
            with suppress(OSError):
                places.append(str(Path(f"/proc/{pid}/{name}").readlink()))
        if started.get(pid) == birth or str(work) in words or any(p.startswith(str(work)) for p in places):
            found.append(f"{pid} {words}")
    return found


def _descendants(pid: int) -> dict[int, str]:
    """Every process below this one with its time of birth: a number alone may be given to another one later."""
    table = processes()
    family = {pid}
    while more := {child for child, (parent, _) in table.items() if parent in family} - family:
        family |= more
    return {child: table[child][1] for child in family - {pid} if child in table}


def processes() -> dict[int, tuple[int, str]]:
    """Living processes: parent and time of birth (proc(5), fields 4 and 22 of stat)."""
    found = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        if fields[0] != "Z":
            found[int(stat.parent.name)] = (int(fields[1]), fields[19])
    return found


def nothing_half_written(job: Job) -> None:
    """Each generation has its record and what clients see is whole; results have their descriptions."""
    for generation in job.repo.glob(".generations/[!.]*"):
        assert (generation / "publication.json").is_file()
    for result in (job.work / "store/results").glob("*"):
        assert (result / "result.json").is_file()
    if job.published.is_symlink():
        job.verify()


def same_as_undisturbed(job: Job, whole: Job) -> None:
    assert job.digest() == whole.digest()
    assert job.packages() == whole.packages()
    job.verify()
    assert list((job.work / "tmp").iterdir()) == []
    assert list(job.repo.glob("**/.tmp-*")) == []
    assert len(list(job.repo.glob(".generations/[!.]*"))) == 1
