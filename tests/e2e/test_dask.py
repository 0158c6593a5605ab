"""Real cells compiled by a Dask worker: the bytes are those of the local executor."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from pathlib import Path

from builder.store.store import KINDS
from tests.conftest import Job
from tests.e2e.test_builder_killed import builders, kill_after, next_builder
from tests.e2e.test_kill import DEADLINE, nothing_runs_on, processes, same_as_undisturbed, started
from tests.e2e.test_kill import said as run_said


def kmods(job: Job) -> dict[str, str]:
    """sha256 of each kmod package in the store by key and name."""
    found = (job.work / "store/results").glob("*/kmod-*.rpm")
    return {f"{p.parent.name}/{p.name}": hashlib.sha256(p.read_bytes()).hexdigest() for p in found}


def test_a_dask_worker_makes_the_bytes_of_the_local_executor_though_one_is_killed(whole: Job, tmp_path: Path) -> None:
    job = whole.copy(tmp_path / "job", kinds=[kind for kind in KINDS if kind != "modules"], done=False)
    for name in kmods(job):
        shutil.rmtree(job.work / "store/results" / name.partition("/")[0], ignore_errors=True)
    assert kmods(job) == {}
    worker = job.work / "workers/0/store"  # has its base root already, to save making it
    worker.mkdir(parents=True)
    subprocess.run(["cp", "-al", whole.work / "store/roots", worker], check=True)
    events = tmp_path / "events.jsonl"
    with started(job, "--executor", "dask", "--events", str(events)) as process:
        build = next_builder(job.work, set(), process)
        supervisor, _birth = processes()[builders(job.work)[build]]
        assert supervisor != process.pid
        kill_after(supervisor, 0)
        assert process.wait(timeout=DEADLINE) == 0, run_said(job)
    assert kmods(job) == kmods(whole) != {}
    told = [json.loads(line) for line in events.read_text().splitlines()]
    compiled = {e["subject"] for e in told if "compiled by tcp://" in (e.get("text") or "")}
    assert compiled == {e["subject"] for e in told if e["stage"] == "build" and "@6" in e["subject"]}
    nothing_runs_on(job.work)
    same_as_undisturbed(job, whole)  # and what travelled is gone


def test_a_scheduler_without_a_store_that_all_reach_is_refused(whole: Job, tmp_path: Path) -> None:
    job = whole.copy(tmp_path / "job", kinds=())
    done = job.run("build", "--scheduler", "tcp://127.0.0.1:9", code=63)
    assert "its workers need a store that all machines reach" in done.stderr
    store = ("--store", (tmp_path / "shared").as_uri())
    (tmp_path / "shared").mkdir()
    done = job.run("build", "--scheduler", "nonsense://x", *store, code=64)
    assert "cannot be reached" in done.stderr
