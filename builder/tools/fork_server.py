"""Work in namespaces of its own, by processes that need not read their program first: a server has, and forks them.

``ForkServer`` is the caller's side; the server is ``python -m MODULE FD``, whose module calls ``serve``. It is started
when it is first needed and ends with the caller, whose end of their socket then closes. For each piece of work it forks
a keeper, which has a socket to the caller of its own: there it tells its number, and how the work ended; when that
socket closes before, because the caller is dead or wants no more of it, the keeper kills the work. The work itself is
process 1 of its pid namespace and alone in the others, so that all mounts and processes end with it; it dies with its
keeper.
"""

from __future__ import annotations

import atexit
import json
import os
import select
import signal
import socket
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock
from typing import IO, NoReturn

from builder.errors import ToolError
from builder.tools.mounts import die_with_parent, pids_for_child, private_namespaces
from builder.tools.run import KILL_GRACE, Completed, Running, in_memory, spawn, wait_readable, watch

_STARTED_WITHIN = 60.0  # seconds: a machine that is busy starts a keeper late
_MESSAGE = 64 << 10  # bytes
_LINES = 20
_TRIES = 2  # a server that somebody has killed is noticed when it is asked


class ForkServer:
    """Starts ``main(words)`` of a module, in namespaces, as often as it is asked to; used from any thread."""

    def __init__(self, module: str) -> None:
        """``module`` calls ``serve(FD, main)`` when it is run."""
        self._module = module
        self._lock = Lock()
        self._control: socket.socket | None = None
        self._process: Running | None = None
        self._said: IO[bytes] | None = None  # by the server itself: nothing, unless it cannot start

    def run(self, words: Sequence[str], *, network: bool, timeout: float, log: Path) -> Completed:
        """Do ``main(words)`` in new mount, ipc, uts and pid namespaces, and a network's unless ``network``; in /.

        What it prints is appended to ``log``. Raises as ``builder.tools.run.run`` does.
        """
        message = json.dumps({"words": list(words), "network": network}).encode()

        def start(out: IO[bytes], _err: IO[bytes]) -> Running:
            return self._fork(message, out)

        return watch((self._module, *words), start, timeout=timeout, log=log)

    def _fork(self, message: bytes, out: IO[bytes]) -> _Kept:
        said: list[str] = []
        for _ in range(_TRIES):
            mine, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            with theirs:
                control = self._send(message, [theirs.fileno(), out.fileno()])
            if wait_readable(mine.fileno(), _STARTED_WITHIN) and (pid := mine.recv(_MESSAGE)):
                return _Kept(mine, int(pid))
            mine.close()
            said = self._forget(control)
        raise ToolError(f"{self._module}: cannot be started: its server ends before it answers", details=said)

    def _send(self, message: bytes, handles: Sequence[int]) -> socket.socket:
        """Ask the server, which is started first where there is none; returns the socket that was used."""
        with self._lock:
            if self._control is None:
                self._control, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
                self._said = in_memory("server")
                with theirs:
                    argv = [sys.executable, "-I", "-m", self._module, str(theirs.fileno())]
                    self._process = spawn(argv, cwd=Path("/"), stderr=self._said, pass_fds=(theirs.fileno(),))
                atexit.register(self._forget, self._control)  # waited for: its processors' time is the caller's then
            with suppress(BrokenPipeError, ConnectionResetError):  # it was killed: nobody will answer
                socket.send_fds(self._control, [message], handles)
            return self._control

    def _forget(self, control: socket.socket) -> list[str]:
        """The next call starts another one; returns what this one said, unless another thread asked already."""
        with self._lock:
            if self._control is not control or self._process is None or self._said is None:
                return []
            control.close()
            self._control = None
            try:
                self._process.wait(KILL_GRACE)
            except TimeoutError:
                self._process.kill(0.0)
            with self._said as file:
                file.seek(0)
                return file.read().decode(errors="replace").splitlines()[-_LINES:]


class _Kept:
    """Work that a server has forked, through the socket of its keeper."""

    def __init__(self, keeper: socket.socket, pid: int) -> None:
        self._keeper = keeper
        self.pid = pid  # the keeper's, which lives until the socket is closed

    def wait(self, timeout: float) -> int:
        if not wait_readable(self._keeper.fileno(), timeout):
            raise TimeoutError
        with self._keeper:
            status = self._keeper.recv(_MESSAGE)
        return int(status) if status else -signal.SIGKILL  # without a word: the keeper was killed, its work with it

    def kill(self, grace: float) -> None:  # noqa: ARG002  process 1 has nothing to do before it ends
        try:
            self._keeper.shutdown(socket.SHUT_WR)
            wait_readable(self._keeper.fileno(), KILL_GRACE)
        except (OSError, ValueError):  # it was waited for meanwhile
            return


def serve(control: int, main: Callable[[list[str]], int]) -> None:
    """Fork a keeper for each message until the caller is gone, then see all of them end."""
    with socket.socket(fileno=control) as caller:
        while True:
            message, handles, _, _ = socket.recv_fds(caller, _MESSAGE, 2, socket.MSG_CMSG_CLOEXEC)
            if not message:
                break
            if os.fork() == 0:
                caller.close()
                _keep(json.loads(message), handles, main)
            for handle in handles:
                os.close(handle)
            _wait_for_keepers(os.WNOHANG)
    _wait_for_keepers(0)


def _wait_for_keepers(how: int) -> None:
    """No zombie is left, and their processors' time counts as this process's."""
    with suppress(ChildProcessError):
        while os.waitpid(-1, how) != (0, 0):
            pass


def _keep(told: dict[str, object], handles: Sequence[int], main: Callable[[list[str]], int]) -> NoReturn:
    """Do one piece of work in its namespaces, tell how it ended, and stay until the caller has heard it."""
    try:
        owner, log = handles
        os.setsid()
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(log)
        with socket.socket(fileno=owner) as caller:
            caller.send(str(os.getpid()).encode())
            caller.send(str(_in_namespaces(told, caller, main)).encode())
            caller.recv(1)
    except BaseException:  # noqa: BLE001  nothing of it may get back into the server's loop
        _complain()
    os._exit(1)


def _in_namespaces(told: dict[str, object], caller: socket.socket, main: Callable[[list[str]], int]) -> int:
    """Exit code of the work, -N for signal N."""
    try:
        pids_for_child()
    except OSError:
        _complain()
        return 1
    lives, ends = os.pipe()  # only the work holds the writing end: what it starts does not inherit that
    pid = os.fork()
    if pid == 0:
        os.close(lives)
        caller.close()
        _work(told, main)
    os.close(ends)
    poll = select.poll()
    for fd in (lives, caller.fileno()):
        poll.register(fd, select.POLLIN)
    if caller.fileno() in dict(poll.poll()):  # nothing is ever sent here: it was closed
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    return os.waitstatus_to_exitcode(status)


def _work(told: dict[str, object], main: Callable[[list[str]], int]) -> NoReturn:
    code = 1
    try:
        die_with_parent()
        private_namespaces(network=bool(told["network"]))
        words = told["words"]
        assert isinstance(words, list)  # noqa: S101
        code = main(words)
        sys.stdout.flush()
        sys.stderr.flush()
    except BaseException:  # noqa: BLE001  as Python itself would end
        _complain()
    os._exit(code)


def _complain() -> None:
    with suppress(OSError):  # a full disk is told by the exit code
        traceback.print_exc()
        sys.stderr.flush()
