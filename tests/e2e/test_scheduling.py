"""A run's schedule as its users meet it: a deadline, Ctrl-C twice, what the ledger learns."""

from __future__ import annotations

import json
import signal
import sqlite3
from contextlib import closing
from pathlib import Path

import jsonschema

from builder.pipeline.event_lines import event_schema
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
    watched(job, cell)
    same_as_undisturbed(job, whole)


def watched(job: Job, cell: str) -> None:
    """Run the matrix and look at it as a person, a program, a monitor and a CI system do."""
    folder = job.config.parent
    files = {name: folder / f"watched.{name}" for name in ("events", "metrics", "summary")}
    options = [word for name, path in files.items() for word in (f"--{name}", str(path))]
    said = job.run("matrix", "--verbose", *options).stderr.splitlines()
    assert any(line.startswith(f"{cell}: ") and "rpmbuild" not in line and "CC [M]" in line for line in said)
    assert "  branch r535-open  1 built" in said
    events = [json.loads(line) for line in files["events"].read_text().splitlines()]
    for event in events:
        jsonschema.validate(event, event_schema())
    of_cell = [e["state"] for e in events if (e["subject"], e["stage"]) == (cell, "build")]
    assert of_cell == ["queued", "started", "log", "log", "done"]  # compiled, then packed
    assert (events[-1]["stage"], events[-1]["state"], events[-1]["exit_code"]) == ("run", "done", 0)
    metrics = files["metrics"].read_text()
    assert 'repobuild_cells{branch="r535-open",state="built"} 1.0\n' in metrics
    assert "repobuild_run_exit_code 0.0\n" in metrics
    summary = files["summary"].read_text()
    assert summary.startswith("# repobuild: done\n")
    assert "| built | reused |" in summary


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
    before, _, after = said(job).partition("Ctrl-C: ")  # where the build ended just before, nothing is waited for
    unit = "nvidia-driver:535.261.03@lab9.x86_64"
    assert f"waiting for {unit} (about " in after or f"{unit}: build done" in before
    job.run("matrix")
    same_as_undisturbed(job, whole)
