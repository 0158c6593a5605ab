"""Build logs on the console while they are written, each line with its cell."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from threading import Event as Flag
from threading import Lock, Thread

from builder.pipeline.events import Event

_BETWEEN = 0.2  # seconds between two looks
_CHUNK = 1 << 20  # bytes read at once
_ENDS = ("done", "failed", "reused")


class _Log:
    """One file that is being written, read up to where its last whole line ends."""

    def __init__(self, subject: str, path: Path) -> None:
        self.subject = subject
        self._path = path
        self._fd: int | None = None
        self._rest = b""
        self._open()

    def _open(self) -> None:
        try:
            self._fd = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            self._fd = None

    def lines(self) -> list[str]:
        """Whole lines since the last call. A removed file is still read; one that took its place begins anew."""
        found = self._read()
        if self._replaced():
            found += self._take_rest()
            self.close()
            self._open()
            found += self._read()
        return found

    def end(self) -> list[str]:
        """What is left of it, the last line as it is."""
        return [*self.lines(), *self._take_rest()]

    def close(self) -> None:
        """Give the file back."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _replaced(self) -> bool:
        try:
            there = self._path.stat()
        except OSError:
            return False
        return self._fd is None or os.fstat(self._fd).st_ino != there.st_ino

    def _read(self) -> list[str]:
        found: list[str] = []
        while self._fd is not None and (data := os.read(self._fd, _CHUNK)):
            *whole, self._rest = (self._rest + data).split(b"\n")
            found += [line.decode(errors="replace").rstrip("\r") for line in whole]
        return found

    def _take_rest(self) -> list[str]:
        rest, self._rest = self._rest, b""
        return [rest.decode(errors="replace")] if rest else []


class LogFollower:
    """A listener that reads the log of each running build and hands its lines on, whole and in order."""

    def __init__(self, show: Callable[[str, str], None]) -> None:
        """``show`` gets subject and line; from a thread of its own or from the one that tells an event."""
        self._show = show
        self._logs: dict[str, _Log] = {}
        self._lock = Lock()
        self._stop = Flag()
        self._thread = Thread(target=self._follow, name="logs", daemon=True)

    def __call__(self, event: Event, /) -> None:
        """Take up a log, or read one to its end."""
        with self._lock:
            if event.state == "log" and event.log is not None:
                self._finish(event.subject)
                self._logs[event.subject] = _Log(event.subject, event.log)
            elif event.stage == "build" and event.state in _ENDS:
                self._finish(event.subject)

    def __enter__(self) -> LogFollower:
        self._thread.start()
        return self

    def __exit__(self, *_args: object) -> None:
        self._stop.set()
        self._thread.join()
        with self._lock:
            for subject in list(self._logs):
                self._finish(subject)

    def _follow(self) -> None:
        while not self._stop.wait(_BETWEEN):
            with self._lock:
                for log in self._logs.values():
                    self._print(log.subject, log.lines())

    def _finish(self, subject: str) -> None:
        log = self._logs.pop(subject, None)
        if log is not None:
            self._print(subject, log.end())
            log.close()

    def _print(self, subject: str, lines: list[str]) -> None:
        for line in lines:
            self._show(subject, line)
