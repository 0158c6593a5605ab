"""Work that a server forks: in namespaces of its own, ended with whoever wanted it, whoever is killed."""

from __future__ import annotations

import json
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

from builder.errors import InterruptedRunError, ToolError, ToolTimeoutError
from builder.tools.fork_server import ForkServer
from builder.tools.run import cancel_all, reset_cancelled
from tests.need import need, need_root
from tests.tools.forked import NAMESPACES

MODULE = "tests.tools.forked"
SLEEP = "765432.5"  # seconds that nobody else sleeps
SECONDS = 60.0


@pytest.fixture(scope="module")
def server() -> ForkServer:
    need_root()
    need("mount", "sleep", "ls")
    return ForkServer(MODULE)


@pytest.fixture(autouse=True)
def nobody_sleeps_on() -> Iterator[None]:
    yield
    reset_cancelled()
    wait_until(lambda: not sleepers())


def command_lines() -> dict[int, list[bytes]]:
    found = {}
    for path in Path("/proc").glob("[0-9]*"):
        with suppress(OSError):
            found[int(path.name)] = (path / "cmdline").read_bytes().split(b"\0")
    return found


def sleepers() -> list[int]:
    return [pid for pid, words in command_lines().items() if words[1:2] == [SLEEP.encode()]]


def parent(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def wait_until(done: Callable[[], object]) -> None:
    deadline = time.monotonic() + SECONDS
    while not done():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def run(server: ForkServer, log: Path, *words: str, network: bool = False, timeout: float = SECONDS) -> str:
    server.run(words, network=network, timeout=timeout, log=log)
    return log.read_text()


@pytest.mark.parametrize("network", [False, True])
def test_work_is_process_1_of_its_own_namespaces(
    server: ForkServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, network: bool
) -> None:
    monkeypatch.setenv("SECRET", "x")
    told = json.loads(run(server, tmp_path / "log", "look", str(tmp_path), network=network))
    shared = {name for name in NAMESPACES if told["namespaces"][name] == str(Path(f"/proc/self/ns/{name}").readlink())}
    assert shared == ({"net"} if network else set())
    assert (told["pid"], told["folder"]) == (1, "/")
    assert "SECRET" not in told["environment"]
    assert told["inherited"] == ["0", "1", "2", "3"]  # 3 is what ls reads
    assert socket.gethostname() != "elsewhere"
    assert not (tmp_path / "hidden").exists()


def test_how_work_ends_is_told_with_its_last_words(server: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="exit code 3") as caught:
        run(server, tmp_path / "log", "exit", "3")
    assert caught.value.returncode == 3
    with pytest.raises(ToolError, match="exit code 1") as caught:
        run(server, tmp_path / "log", "fail", "an odd word")
    assert caught.value.details[-1] == "ValueError: an odd word"


def test_many_at_once_hear_of_their_own_work(server: ForkServer, tmp_path: Path) -> None:
    def exit_code(number: int) -> int:
        try:
            run(server, tmp_path / f"log-{number}", "exit", str(number))
        except ToolError as exc:
            return exc.returncode
        return 0

    with ThreadPoolExecutor(16) as pool:
        assert list(pool.map(exit_code, range(64))) == list(range(64))


def test_work_that_runs_too_long_is_ended_with_all_it_started(server: ForkServer, tmp_path: Path) -> None:
    with pytest.raises(ToolTimeoutError, match=r"ran longer than 0\.5 s"):
        run(server, tmp_path / "log", "sleep", SLEEP, timeout=0.5)


def test_work_is_ended_when_the_run_is_cancelled(server: ForkServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, server, tmp_path / "log", "sleep", SLEEP)
        wait_until(sleepers)
        cancel_all()
        with pytest.raises(InterruptedRunError):
            waiting.result(SECONDS)


@pytest.mark.parametrize("killed", ["work", "keeper"])
def test_who_is_killed_takes_the_work_with_it_and_the_next_starts(
    server: ForkServer, tmp_path: Path, killed: str
) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, server, tmp_path / "log", "sleep", SLEEP)
        wait_until(sleepers)
        work = parent(sleepers()[0])
        os.kill(work if killed == "work" else parent(work), signal.SIGKILL)
        with pytest.raises(ToolError, match="signal 9") as caught:
            waiting.result(SECONDS)
    assert caught.value.signal == signal.SIGKILL
    run(server, tmp_path / "log", "exit", "0")


def test_a_server_that_is_killed_is_started_again_and_its_work_goes_on(server: ForkServer, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(run, server, tmp_path / "log", "sleep", SLEEP)
        wait_until(sleepers)
        work = parent(sleepers()[0])
        before = parent(parent(work))
        os.kill(before, signal.SIGKILL)
        wait_until(lambda: command_lines().get(before, [b""]) == [b""])  # gone, or waited for by nobody yet
        run(server, tmp_path / "other", "exit", "0")
        assert not waiting.done()
        os.kill(work, signal.SIGKILL)
        with pytest.raises(ToolError, match="signal 9"):
            waiting.result(SECONDS)


def test_what_keeps_a_server_from_starting_is_told(tmp_path: Path) -> None:
    with pytest.raises(ToolError, match="its server ends before it answers") as caught:
        run(ForkServer("tests.tools.no_such_module"), tmp_path / "log", "exit", "0")
    assert "No module named" in caught.value.details[-1]


def test_nothing_lives_longer_than_who_wanted_it(tmp_path: Path) -> None:
    need_root()
    child = os.fork()
    if child == 0:
        with suppress(BaseException):
            run(ForkServer(MODULE), tmp_path / "log", "sleep", SLEEP)
        os._exit(0)
    wait_until(sleepers)
    work = parent(sleepers()[0])
    keeper = parent(work)
    server = parent(keeper)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    wait_until(lambda: not {work, keeper, server} & command_lines().keys())
