"""A run's schedule as its users meet it: a deadline, Ctrl-C twice, what the ledger learns."""

from __future__ import annotations

import signal
import sqlite3
from contextlib import closing
from pathlib import Path

from tests.conftest import Job
from tests.e2e.test_kill import DEADLINE, forget, nothing_runs_on, said, same_as_undisturbed, started, wait_for


def test_what_builds_cost_is_learned(whole: Job, generic: list[str]) -> None:
    with closing(sqlite3.connect(whole.work / "ledger.sqlite")) as db:
        rows = db.execute("SELECT unit_id, work, kind, seconds, memory, jobs FROM costs").fetchall()
    cells = [row for row in rows if row[2] == "kmod-nvidia-open"]
    assert sorted(row[0] for row in cells) == [
        f"lab9/x86_64/kmod-nvidia/{version}/open/precompiled/{generic[0]}" for version in ("535.261.03", "550.163.01")
    ]
    for _unit, work, _kind, seconds, memory, jobs in cells:
        assert work == "whole"
        assert seconds > 0
        assert memory > 4 << 20  # a compiler, at least
        assert jobs >= 1
    assert {row[2] for row in rows} >= {"nvidia-driver", "nvidia-kmod-common-open"}


def test_a_cell_that_is_out_of_time_is_stopped_and_held_the_next_run_builds_it(
    tmp_path: Path, whole: Job, generic: list[str]
) -> None:
    job = whole.copy(tmp_path, done=False)
    forget(job, "kmod-nvidia/535.261.03")
    for folder in (job.work / "store/modules").iterdir():
        folder.rename(tmp_path / folder.name)  # so that there is something to compile
    cell = f"r535-open@{generic[0]}"
    units = {u["id"]: u for u in job.json("build", "--select", cell, "--cell-timeout", "1", code=70)["units"]}
    assert units[cell]["code"] == "build-timeout"
    assert units[cell]["reason"] == f"{cell}: was not done after 1 s and was stopped with all its processes"
    nothing_runs_on(job.work)
    (failure,) = job.json("status")["failures"]
    assert failure["code"] == "build-timeout"
    assert job.json("why", cell)["failed"][0].startswith("build: ")
    job.run("matrix")
    same_as_undisturbed(job, whole)


def test_ctrl_c_twice_stops_what_it_waited_for(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path, done=False)
    forget(job, "nvidia-driver/535.261.03")
    with started(job) as process:
        wait_for(job, "nvidia-driver:535.261.03@lab9.x86_64: build started", process)
        process.send_signal(signal.SIGINT)
        wait_for(job, "Ctrl-C: nothing new is started", process)
        process.send_signal(signal.SIGINT)
        assert process.wait(timeout=DEADLINE) == 130
    nothing_runs_on(job.work)
    assert "waiting for nvidia-driver:535.261.03@lab9.x86_64 (about " in said(job)
    job.run("matrix")
    same_as_undisturbed(job, whole)
