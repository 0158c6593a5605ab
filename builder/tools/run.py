"""The one place that starts processes.

No shell, a clean environment, stdin closed, a timeout always, the whole process group killed on timeout or interrupt,
and children that die with repobuild even when it is killed with SIGKILL (``setpriv --pdeathsig``, util-linux).
Within a supervised task (supervise.py) its deadline and its stop hold for every process, and memory is looked at.
Secrets are handed over file descriptors (``pass_fds``), never in argv or the environment.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from threading import Event, Lock
from typing import IO, Protocol

from builder.errors import (
    DiskFullError,
    InterruptedRunError,
    RepobuildError,
    ToolError,
    ToolMissingError,
    ToolTimeoutError,
)
from builder.tools.packages import package_hint
from builder.tools.supervise import Supervision, current, family

PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KILL_GRACE = 5.0  # seconds between SIGTERM and SIGKILL
_LOOK = 0.5  # seconds between two looks at the memory of a task; the first comes sooner


class Running(Protocol):
    """A process that was started and is watched over. Methods may be called from any thread."""

    @property
    def pid(self) -> int:
        """Its number, which is no other process's until ``wait`` has returned."""

    def wait(self, timeout: float) -> int:
        """Exit code, -N for signal N; raises TimeoutError after so many seconds."""

    def kill(self, grace: float) -> None:
        """End it with all that it started: after so many seconds to do so by itself, where it can."""


_live: set[Running] = set()
_live_lock = Lock()
_cancelled = Event()


@dataclass(frozen=True, slots=True, kw_only=True)
class Completed:
    """A finished process. ``stdout`` and ``stderr`` are empty when they went to a log."""

    argv: tuple[str, ...]
    returncode: int
    stdout: str
    stderr: str
    seconds: float  # wall


class Terminated(KeyboardInterrupt):
    """SIGTERM: stop now, unlike Ctrl-C, which lets finish what is cheap."""


def cancel_all() -> None:
    """Kill every running process group and let later ``run`` calls raise InterruptedRunError (Ctrl-C, SIGTERM)."""
    _cancelled.set()
    with _live_lock:
        live = list(_live)
    for process in live:
        process.kill(0.0)


def reset_cancelled() -> None:
    """Allow processes again after ``cancel_all`` (a new run in the same interpreter)."""
    _cancelled.clear()


def stop(task: Supervision) -> None:
    """Kill the processes of one task and let its later ``run`` calls raise InterruptedRunError."""
    task.stopped.set()
    mine = task.living()
    with _live_lock:
        live = [process for process in _live if process.pid in mine]
    for process in live:
        process.kill(0.0)


def check_stopped(what: str) -> None:
    """Raise InterruptedRunError where the run, or the task that calls, is being stopped."""
    task = current()
    if _cancelled.is_set() or (task is not None and task.stopped.is_set()):
        raise InterruptedRunError(f"{what}, repobuild is stopping")


def pause(seconds: float) -> None:
    """Sleep; raises InterruptedRunError as soon as the run or the task that calls is stopped."""
    task = current()
    event = _cancelled if task is None else task.stopped
    until = time.monotonic() + seconds
    while (left := until - time.monotonic()) > 0:
        check_stopped("not tried again")
        event.wait(min(left, _LOOK))
    check_stopped("not tried again")


def which(program: str) -> Path | None:
    """Absolute path of a program on the fixed PATH, None when it is not installed."""
    found = shutil.which(program, path=PATH)
    return Path(found) if found else None


def tail(path: Path, lines: int = 20) -> tuple[str, ...]:
    """Last lines of a log, without trailing space; empty when there is no such file."""
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            file.seek(max(0, file.tell() - 400 * lines))
            text = file.read().decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip() for line in text.splitlines()[-lines:])


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    log: Path | None = None,
    stdin: bytes | None = None,
    ok: Collection[int] = (0,),
    pass_fds: tuple[int, ...] = (),
) -> Completed:
    """Run one program to its end.

    ``env`` is added to a clean environment (PATH, LANG, HOME). With ``log`` both streams are appended to that file.
    Raises ToolMissingError, ToolTimeoutError, DiskFullError, InterruptedRunError, and ToolError for an exit code
    that is not in ``ok``; details carry the last lines of output. What is left of the deadline of the task that
    calls shortens the timeout.
    """
    words = tuple(str(word) for word in argv)
    program = words[0] if "/" in words[0] else str(which(words[0]) or "")

    def start(out: IO[bytes], err: IO[bytes]) -> Running:
        if not program:
            raise ToolMissingError(f"{words[0]} is not installed", hint=package_hint(words[0]))
        argv = (*_die_with_parent(), program, *words[1:])
        return spawn(argv, cwd=cwd, env=env, stdin=stdin, stdout=out, stderr=err, pass_fds=pass_fds)

    return watch(words, start, timeout=timeout, log=log, ok=ok)


def watch(
    words: tuple[str, ...],
    start: Callable[[IO[bytes], IO[bytes]], Running],
    *,
    timeout: float,
    log: Path | None = None,
    ok: Collection[int] = (0,),
) -> Completed:
    """See a process to its end that ``start`` starts with these as its stdout and stderr; raises what ``run`` raises.

    ``words`` are what it is called in errors.
    """
    check_stopped(f"{words[0]}: not started")
    task = current()
    left = task.left() if task else None
    if left == 0.0:
        raise ToolTimeoutError(f"{words[0]}: not started, the time for all of it is over")
    timeout = timeout if left is None else min(timeout, left)
    started = time.monotonic()
    with ExitStack() as stack:
        out, err = _outputs(stack, log)
        process = start(out, err)
        with _live_lock:
            _live.add(process)
        returncode = _wait(process, timeout, words, log, task)
        stdout, stderr = ("", "") if log else (_read(out), _read(err))
    seconds = time.monotonic() - started
    if returncode != 0:
        check_stopped(f"{words[0]}: ended")
    done = Completed(argv=words, returncode=returncode, stdout=stdout, stderr=stderr, seconds=seconds)
    if returncode not in ok:
        raise _failure(done, log)
    return done


@cache
def _die_with_parent() -> tuple[str, ...]:
    if os.getpid() == 1:  # of a pid namespace, which ends with this process anyway
        return ()
    setpriv = which("setpriv")
    return (str(setpriv), "--pdeathsig", "KILL", "--") if setpriv else ()


def _outputs(stack: ExitStack, log: Path | None) -> tuple[IO[bytes], IO[bytes]]:
    if log is None:
        return stack.enter_context(in_memory("stdout")), stack.enter_context(in_memory("stderr"))
    log.parent.mkdir(parents=True, exist_ok=True)
    file = stack.enter_context(log.open("ab"))
    return file, file


def in_memory(name: str) -> IO[bytes]:
    """A file without a name (memfd_create(2)): what is short, and read as a whole."""
    return os.fdopen(os.memfd_create(name), "w+b")


def spawn(
    argv: Sequence[str],
    *,
    stdout: IO[bytes] | None = None,
    stderr: IO[bytes] | None = None,
    cwd: Path | None = None,
    env: Mapping[str, str] | None = None,
    stdin: bytes | None = None,
    pass_fds: tuple[int, ...] = (),
) -> Running:
    """Start a process in a session of its own and leave it to the caller; see ``run``. Raises ToolMissingError."""
    clean = {"PATH": PATH, "LANG": "C.UTF-8", "HOME": "/nonexistent", **(env or {})}
    with ExitStack() as stack:
        source = stack.enter_context(in_memory("stdin")) if stdin is not None else None
        if source is not None and stdin is not None:
            source.write(stdin)
            source.seek(0)
        try:
            process = subprocess.Popen(
                argv,
                cwd=cwd,
                env=clean,
                stdin=source or subprocess.DEVNULL,
                stdout=stdout or subprocess.DEVNULL,
                stderr=stderr or subprocess.DEVNULL,
                start_new_session=True,
                pass_fds=pass_fds,
            )
        except FileNotFoundError as exc:
            raise ToolMissingError(f"{argv[-1]}: cannot be started: {exc}") from exc
    return _Child(process)


def _wait(process: Running, timeout: float, words: tuple[str, ...], log: Path | None, task: Supervision | None) -> int:
    try:
        if task is None:
            return process.wait(timeout)
        task.add(process.pid)
        return _wait_watching(process, timeout, task)
    except TimeoutError as exc:
        _end(process, KILL_GRACE)
        raise ToolTimeoutError(
            f"{words[0]} ran longer than {timeout:g} s and was killed",
            details=tail(log) if log else (),
            log=log,
        ) from exc
    except BaseException:
        _end(process, 0.0)
        raise
    finally:
        with _live_lock:
            _live.discard(process)
        if task is not None:
            task.remove(process.pid)


def _end(process: Running, grace: float) -> None:
    process.kill(grace)
    with suppress(TimeoutError):
        process.wait(KILL_GRACE)


def _wait_watching(process: Running, timeout: float, task: Supervision) -> int:
    """Wait, with a look at the task's memory now and then; raises TimeoutError."""
    until, between = time.monotonic() + timeout, _LOOK / 8
    while True:
        left = until - time.monotonic()
        if task.stopped.is_set():  # it was just being started when its task was stopped
            process.kill(0.0)
        try:
            return process.wait(max(0.0, min(between, left)))
        except TimeoutError:
            if left <= between:
                raise
        task.measure()
        between = min(_LOOK, between * 2)


class _Child:
    """A child of this process, the leader of a group."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._process = process
        self.pid = process.pid

    def wait(self, timeout: float) -> int:
        """``Popen.wait``, but woken when it ends: that one looks every 50 ms, longer than most programs run."""
        try:
            fd = os.pidfd_open(self.pid)
        except OSError:  # Linux before 5.3, or somebody has waited for it already
            try:
                return self._process.wait(timeout)
            except subprocess.TimeoutExpired as exc:
                raise TimeoutError from exc
        try:
            if not wait_readable(fd, timeout):
                raise TimeoutError
        finally:
            os.close(fd)
        return self._process.wait()

    def kill(self, grace: float) -> None:
        """End the group and whatever else is below its leader, such as what made a session of its own."""
        below = _handles(family(self.pid)[1:])
        for number in (signal.SIGTERM, signal.SIGKILL) if grace else (signal.SIGKILL,):
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(timeout=grace or KILL_GRACE)
        for handle in below:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)


def wait_readable(fd: int, timeout: float) -> bool:
    """Is something to be read from it within so many seconds (the end counts)?"""
    poll = select.poll()
    poll.register(fd, select.POLLIN)
    return bool(poll.poll(timeout * 1000))


def _handles(pids: Collection[int]) -> list[int]:
    """Descriptors of processes: a number alone may be another process's by the time it is used."""
    found = []
    for pid in pids:
        with suppress(ProcessLookupError):
            found.append(os.pidfd_open(pid))
    return found


def _read(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")


def _failure(done: Completed, log: Path | None) -> RepobuildError:
    lines = tail(log) if log else tuple((done.stdout + done.stderr).splitlines()[-20:])
    if any("No space left on device" in line for line in lines):
        return DiskFullError(
            f"{done.argv[0]}: no space left on device",
            details=lines,
            hint="free space (the work folder's tmp/ is emptied at the next start) and run again",
            log=log,
        )
    how = f"exit code {done.returncode}" if done.returncode >= 0 else f"signal {-done.returncode}"
    error = ToolError(f"{done.argv[0]} failed ({how})", details=lines, log=log)
    error.signal, error.returncode = max(0, -done.returncode), done.returncode
    return error
