"""Cells compiled by Dask workers, and every way in which that can end: real schedulers and workers in processes."""

from __future__ import annotations

import os
import pickle
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from distributed import LocalCluster

from builder.errors import BuildError, InterruptedRunError, SchedulerLostError, WorkersError
from builder.pipeline.farm import Farm
from builder.pipeline.orders import Reply, identity, make_order
from builder.pipeline.workers import Slot, in_slot
from builder.tools.run import stop
from builder.tools.supervise import Supervision
from tests.farm.processes import programs
from tests.farm.simulated import RECIPE, compilation, lives
from tests.farm.site import cluster, compile_one, farm, wait_for


@pytest.fixture(scope="module")
def workers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCluster]:
    with cluster(tmp_path_factory.mktemp("cluster")) as made:
        yield made


@pytest.fixture
def run(workers: LocalCluster, tmp_path: Path) -> Iterator[Farm]:
    with farm(workers.scheduler_address, tmp_path, "run") as made:
        assert made.await_workers() in (1, 2)  # one that was killed may not be back yet
        yield made


def started(folder: Path) -> list[tuple[int, int]]:
    """(worker, child) of each start of a waiting cell."""
    path = folder / "started"
    lines = path.read_text().splitlines() if path.exists() else []
    return [(int(worker), int(child)) for worker, child in (line.split() for line in lines)]


def in_thread(action: object, *arguments: object) -> tuple[threading.Thread, list[BaseException | Path]]:
    """Do something meanwhile; what it returned or raised is in the list when the thread has ended."""
    said: list[BaseException | Path] = []

    def work() -> None:
        try:
            said.append(action(*arguments))  # type: ignore[operator]
        except BaseException as exc:  # noqa: BLE001  it is looked at
            said.append(exc)

    thread = threading.Thread(target=work)
    thread.start()
    return thread, said


def test_files_go_through_the_store_and_messages_stay_small(run: Farm, tmp_path: Path) -> None:
    source = os.urandom(8 << 20)
    folder = compile_one(run, tmp_path, 1, source=source)
    assert (folder / "said").read_text() == f"{1:064x} [{len(source)}]\n"
    what = compilation(tmp_path / "sources", 1, source=source)
    order = make_order(what, recipe=RECIPE, name="host", mock_config="", store=f"file://{tmp_path}", tag="1")
    assert len(pickle.dumps(order)) < 4096  # the packages of the buildroot stay here, too
    assert len(pickle.dumps(Reply(worker="tcp://127.0.0.1:40000", seconds=1.0, memory=1 << 40, jobs=64))) < 512


def test_what_failed_there_is_the_same_failure_here_with_its_log(run: Farm, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="it failed there") as caught:
        compile_one(run, tmp_path, 2, "fail")
    assert type(caught.value) is BuildError
    assert caught.value.details == ("hello.c:1: error: no",)
    assert caught.value.log is not None
    assert caught.value.log.read_text() == "hello.c:1: error: no\n"
    assert caught.value.log.is_relative_to(tmp_path / "run/logs")


def test_a_worker_killed_in_mid_build_costs_time_only(run: Farm, tmp_path: Path) -> None:
    thread, said = in_thread(compile_one, run, tmp_path, 3, f"wait {tmp_path}")
    ((worker, child),) = wait_for(lambda: started(tmp_path))
    os.kill(worker, signal.SIGKILL)
    (_, (second, _)) = wait_for(lambda: len(started(tmp_path)) == 2 and started(tmp_path))
    (tmp_path / "go").touch()
    thread.join()
    assert said == [tmp_path / "modules-3"]
    assert second != worker
    assert not lives(child)


def test_a_cell_that_kills_its_workers_is_given_up(run: Farm, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match="every worker that took it died of it"):
        compile_one(run, tmp_path, 4, "die")
    assert compile_one(run, tmp_path, 5).is_dir()  # the others go on


def test_two_runs_that_order_one_cell_have_it_compiled_once(run: Farm, workers: LocalCluster, tmp_path: Path) -> None:
    with farm(workers.scheduler_address, tmp_path, "second") as other:
        words = f"wait {tmp_path}"
        first, of_first = in_thread(compile_one, run, tmp_path / "a", 6, words)
        wait_for(lambda: started(tmp_path))
        second, of_second = in_thread(compile_one, other, tmp_path / "b", 6, words)
        scheduler = workers.scheduler
        assert scheduler is not None
        wait_for(lambda: any(len(task.who_wants or ()) == 2 for task in scheduler.tasks.values()))
        (tmp_path / "go").touch()
        first.join()
        second.join()
    assert (of_first, of_second) == ([tmp_path / "a/modules-6"], [tmp_path / "b/modules-6"])
    assert len(started(tmp_path)) == 1


def test_a_cell_that_no_worker_can_take_is_told_with_what_there_is(workers: LocalCluster, tmp_path: Path) -> None:
    with farm(workers.scheduler_address, tmp_path, "run", patience=0.5) as run:
        with pytest.raises(WorkersError, match=r"no worker can take it; it needs arch s390x, builder host 1") as caught:
            compile_one(run, tmp_path, 7, arch="s390x")
        assert all(f"arch {os.uname().machine}" in line for line in caught.value.details)
        assert compile_one(run, tmp_path, 8).is_dir()


def test_a_stopped_task_stops_its_build_on_the_worker(run: Farm, tmp_path: Path) -> None:
    supervision = Supervision()

    def task() -> Path:
        with in_slot(Slot(supervision=supervision, neighbours=lambda: 1)):
            return compile_one(run, tmp_path, 9, f"wait {tmp_path}")

    thread, said = in_thread(task)
    ((_, child),) = wait_for(lambda: started(tmp_path))
    stop(supervision)
    thread.join()
    assert isinstance(said[0], InterruptedRunError)
    wait_for(lambda: not lives(child))
    assert compile_one(run, tmp_path, 10).is_dir()


def program(workers: LocalCluster | str, folder: Path, expected: float) -> subprocess.Popen[str]:
    """A run of one waiting cell in a process of its own."""
    address = workers if isinstance(workers, str) else workers.scheduler_address
    return subprocess.Popen(
        [sys.executable, "-m", "tests.farm.site", address, str(folder), "1", "wait", str(folder)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "EXPECTED": str(expected)},
    )


def said_of_ctrl_c(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return next(line for line in process.stdout if "Ctrl-C" in line)


def test_ctrl_c_waits_for_what_is_nearly_done_on_a_worker(workers: LocalCluster, tmp_path: Path) -> None:
    with program(workers, tmp_path, expected=50) as process:
        wait_for(lambda: started(tmp_path))
        process.send_signal(signal.SIGINT)
        assert "waiting for cell 0" in said_of_ctrl_c(process)
        (tmp_path / "go").touch()
        assert process.wait() == 130
    assert (tmp_path / "run-modules/modules-0/modules.json").is_file()


def test_ctrl_c_twice_stops_what_runs_on_workers(workers: LocalCluster, tmp_path: Path) -> None:
    with program(workers, tmp_path, expected=50) as process:
        ((_, child),) = wait_for(lambda: started(tmp_path))
        process.send_signal(signal.SIGINT)
        said_of_ctrl_c(process)
        process.send_signal(signal.SIGINT)
        assert process.wait() == 130
    wait_for(lambda: not lives(child))
    assert not (tmp_path / "run-modules/modules-0/modules.json").exists()


def test_a_killed_run_leaves_no_build_on_a_worker(workers: LocalCluster, tmp_path: Path) -> None:
    with program(workers, tmp_path, expected=50) as process:
        ((_, child),) = wait_for(lambda: started(tmp_path))
        process.kill()
        process.wait()
    wait_for(lambda: not lives(child))


def test_a_killed_scheduler_ends_the_run_and_the_builds(tmp_path: Path) -> None:
    with programs(tmp_path) as apart, farm(apart.address, tmp_path, "run") as run:
        run.await_workers()
        thread, said = in_thread(compile_one, run, tmp_path, 11, f"wait {tmp_path}")
        ((_, child),) = wait_for(lambda: started(tmp_path))
        apart.scheduler.kill()
        thread.join()
        assert isinstance(said[0], SchedulerLostError)
        wait_for(lambda: not lives(child))  # the worker has nobody to work for


def test_workers_of_another_repobuild_are_refused(tmp_path: Path) -> None:
    resources = {"repobuild 0.0.9+0123456789ab": 1}
    with (
        cluster(tmp_path, workers=1, preload=False, processes=False, resources=resources) as made,
        farm(made.scheduler_address, tmp_path, "run", patience=0.2) as run,
    ):
        with pytest.raises(WorkersError, match=r"1 of 1 workers run another repobuild than this one, ") as caught:
            run.refuse_other_programs()
        assert identity() in caught.value.message
        assert "repobuild 0.0.9+0123456789ab" in caught.value.details[0]
        with pytest.raises(WorkersError, match=r"no worker for repobuild came within 0\.2 s"):
            run.await_workers()


def test_an_order_holds_no_key_and_no_path_of_this_machine(tmp_path: Path) -> None:
    what = compilation(tmp_path / "sources", 12)
    order = make_order(what, recipe=RECIPE, name="host", mock_config="", store="s3://builds/x", tag="1")
    sent = pickle.dumps(replace(order, what=replace(order.what, spec=replace(order.what.spec, sources=()))))
    assert str(tmp_path).encode() not in sent
    assert b"key.pem" not in sent


def test_modules_that_were_damaged_in_the_exchange_are_compiled_and_given_again(run: Farm, tmp_path: Path) -> None:
    """As after a power cut: what passes through the exchange is not synced there."""
    whole = (compile_one(run, tmp_path / "first", 3) / "said").read_text()
    for path in (tmp_path / "exchange/data").rglob("*"):
        if path.is_file() and path.read_bytes() == whole.encode():
            path.write_bytes(b"\0" * len(whole))
    (tmp_path / "second").mkdir()
    assert not run._exchange.take("modules", compilation(tmp_path / "sources", 3).key, tmp_path / "second")
    shutil.rmtree(tmp_path / "second")
    assert (compile_one(run, tmp_path / "second", 3) / "said").read_text() == whole
