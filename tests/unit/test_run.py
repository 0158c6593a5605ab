"""The process runner: clean environment, typed failures, nothing left running."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from threading import Thread

import pytest

from builder.errors import DiskFullError, InterruptedRunError, ToolError, ToolMissingError, ToolTimeoutError
from builder.tools.run import cancel_all, reset_cancelled, run, tail


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


def wait_until(condition: object, seconds: float = 10) -> None:
    assert callable(condition)
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "the condition never came true"
        time.sleep(0.02)


def test_the_environment_is_clean_and_stdin_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET", "x")
    done = run(["sh", "-c", "env; cat"], timeout=10, env={"EXTRA": "1"})
    names = {line.partition("=")[0] for line in done.stdout.splitlines()} - {"PWD", "SHLVL", "_"}
    assert names == {"PATH", "LANG", "HOME", "EXTRA"}


def test_a_missing_program_names_its_package() -> None:
    with pytest.raises(ToolMissingError, match="no-such-program is not installed"):
        run(["no-such-program"], timeout=1)


def test_an_exit_code_becomes_an_error_with_the_last_words() -> None:
    with pytest.raises(ToolError, match="exit code 3") as caught:
        run(["sh", "-c", "echo out; echo err >&2; exit 3"], timeout=10)
    assert set(caught.value.details) == {"out", "err"}
    assert run(["sh", "-c", "exit 3"], timeout=10, ok=(0, 3)).returncode == 3


def test_a_full_disk_is_told_apart() -> None:
    with pytest.raises(DiskFullError):
        run(["sh", "-c", "echo 'write error: No space left on device' >&2; exit 1"], timeout=10)


def test_a_timeout_kills_the_whole_group(tmp_path: Path) -> None:
    pid_file = tmp_path / "pid"
    with pytest.raises(ToolTimeoutError):
        run(["sh", "-c", f"sleep 100 & echo $! > {pid_file}; wait"], timeout=0.5)
    wait_until(lambda: not alive(int(pid_file.read_text())))


def test_output_goes_to_the_log_and_its_tail_is_evidence(tmp_path: Path) -> None:
    log = tmp_path / "sub/build.log"
    with pytest.raises(ToolError) as caught:
        run(["sh", "-c", "seq 1 100; exit 1"], timeout=10, log=log)
    assert caught.value.log == log
    assert caught.value.details[-1] == "100"
    assert len(tail(log, 5)) == 5


def test_cancelling_stops_what_runs_and_what_would_start(tmp_path: Path) -> None:
    errors: list[BaseException] = []

    def work() -> None:
        try:
            run(["sh", "-c", f"echo $$ > {tmp_path}/pid; sleep 100"], timeout=100)
        except InterruptedRunError as exc:
            errors.append(exc)

    thread = Thread(target=work)
    thread.start()
    try:
        wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
        cancel_all()
        thread.join(10)
        assert len(errors) == 1
        with pytest.raises(InterruptedRunError):
            run(["true"], timeout=1)
    finally:
        reset_cancelled()


def test_children_die_with_their_parent(tmp_path: Path) -> None:
    code = (
        f"from builder.tools.run import run\nrun(['sh', '-c', 'echo $$ > {tmp_path}/pid; exec sleep 100'], timeout=100)"
    )
    child = os.fork()
    if child == 0:
        os.execv(sys.executable, ["python", "-c", code])
    wait_until(lambda: (tmp_path / "pid").exists() and (tmp_path / "pid").read_text().strip())
    pid = int((tmp_path / "pid").read_text())
    os.kill(child, 9)
    os.waitpid(child, 0)
    wait_until(lambda: not alive(pid))
