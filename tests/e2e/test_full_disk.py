"""A whole job on a disk that fills up at one step after the other: it goes on from there, to the same publication."""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Job
from tests.e2e.test_kill import forget, nothing_half_written, nothing_runs_on, same_as_undisturbed

DRIVER = "535.261.03"
ROOMS = (32 << 10, 1 << 20, 8 << 20)  # bytes that are free: for no record, for no result, for no build requirement


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4g", "full", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


def test_a_disk_that_fills_up_again_and_again_changes_no_byte(tmp_path: Path, disk: Path, whole: Job) -> None:
    copied = whole.copy(tmp_path / "job", done=False)
    for package in (f"kmod-nvidia/{DRIVER}", f"nvidia-driver/{DRIVER}"):
        forget(copied, package)
    shutil.rmtree(copied.work / "store/modules")
    (copied.work / "store/modules").mkdir()
    for layers in copied.work.glob("store/roots/*/layers"):  # of build requirements: installed again
        shutil.rmtree(layers)
    subprocess.run(["cp", "-a", copied.work, disk], check=True)
    job = replace(copied, work=disk / "work", repo=disk / "repo")
    full = 0
    for free in ROOMS:
        used = int(subprocess.check_output(["df", "-B1", "--output=used", disk]).split()[-1])
        subprocess.run(["mount", "-o", f"remount,size={used + free}", disk], check=True)
        done = subprocess.run(
            job.argv("matrix", "--json", "--min-free", "0"), capture_output=True, text=True, check=False
        )
        assert done.returncode in (0, 23), done.stderr[-4000:]
        if done.returncode == 23:
            full += 1
            assert json.loads(done.stdout)["error"]["code"] == "disk-full"
        nothing_runs_on(job.work)
        nothing_half_written(job)
    assert full
    subprocess.run(["mount", "-o", "remount,size=4g", disk], check=True)
    job.run("matrix")
    same_as_undisturbed(job, whole)
