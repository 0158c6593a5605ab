"""kill -9 at any moment, then again: the same publication as an undisturbed run, nothing left behind."""

from __future__ import annotations

import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.conftest import Job, make_job
from tests.lab.distro import LabDistro
from tests.lab.matrix import stream
from tests.lab.runfile import LabDriver

STREAMS = (stream("r535-open", "535", "open"), stream("latest", "newest-complete", "open", default=True))
MOMENTS = (  # what the run has just said when it is killed
    "fetch started",
    "buildroot started",
    "buildroot done",
    "build started",
    "qualify done",
    "nvidia-driver:535.261.03@lab9.x86_64: build started",
    "sign started",
    "sign done",
    "publish started",
)
DEADLINE = 300.0  # seconds


@pytest.fixture(scope="module")
def undisturbed(
    tmp_path_factory: pytest.TempPathFactory,
    lab: LabDistro,
    light: list[LabDriver],
    keys: Path,
    generic: list[str],
) -> str:
    job = _job(tmp_path_factory.mktemp("undisturbed"), lab, light, keys, generic)
    job.run("matrix")
    return job.digest()


def _job(folder: Path, lab: LabDistro, light: list[LabDriver], keys: Path, generic: list[str]) -> Job:
    return make_job(folder, lab, light[:1], keys, streams=STREAMS, kernels=generic[:1], flavors=["open"])


def _stop_at(job: Job, moment: str, number: int) -> int:
    """Run matrix until it says ``moment``, send the signal; the exit code (negative: killed by that signal)."""
    log = job.config.parent / "stderr"
    with log.open("wb") as stderr:
        process = subprocess.Popen(job.argv("matrix"), stdout=subprocess.DEVNULL, stderr=stderr)
        deadline = time.monotonic() + DEADLINE
        while moment not in log.read_text() and process.poll() is None:
            assert time.monotonic() < deadline, log.read_text()[-2000:]
            time.sleep(0.01)
        process.send_signal(number)
        return process.wait(timeout=60)


def _left_running(work: Path) -> list[str]:
    """Processes that have something of this work folder open or in their command line."""
    found = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            words = (entry / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")
            root = str((entry / "root").readlink())
        except OSError:
            continue
        if str(work) in words or root.startswith(str(work)):
            found.append(words)
    return found


def _wait_until_gone(work: Path) -> None:
    deadline = time.monotonic() + 30
    while left := _left_running(work):
        assert time.monotonic() < deadline, left
        time.sleep(0.1)


def test_killed_anywhere_a_rerun_ends_in_the_same_publication(
    tmp_path: Path,
    lab: LabDistro,
    light: list[LabDriver],
    keys: Path,
    generic: list[str],
    undisturbed: str,
) -> None:
    job = _job(tmp_path, lab, light, keys, generic)
    for moment in MOMENTS:
        code = _stop_at(job, moment, signal.SIGKILL)
        assert code in (-signal.SIGKILL, 0), (moment, code)
        _wait_until_gone(job.work)
        assert str(job.work) not in Path("/proc/self/mounts").read_text()
        if job.published.exists():
            job.verify()
    job.run("matrix")
    assert job.digest() == undisturbed
    job.verify()
    assert list((job.work / "tmp").iterdir()) == []


def test_ctrl_c_keeps_what_was_finished(
    tmp_path: Path,
    lab: LabDistro,
    light: list[LabDriver],
    keys: Path,
    generic: list[str],
    undisturbed: str,
) -> None:
    job = _job(tmp_path, lab, light, keys, generic)
    assert _stop_at(job, "nvidia-driver:535.261.03@lab9.x86_64: build started", signal.SIGINT) == 130
    _wait_until_gone(job.work)
    assert "it goes on from there" in (tmp_path / "stderr").read_text()
    units = {u["id"]: u["reason"] for u in job.json("matrix")["units"]}
    assert units[f"r535-open@{generic[0]}"] == "reused"
    assert job.digest() == undisturbed
