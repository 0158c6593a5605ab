"""Counting Ctrl-C instead of being torn out of the middle by it."""

from __future__ import annotations

import signal
import threading
from types import FrameType, TracebackType


class CtrlC:
    """While it is open SIGINT is counted in ``heard`` and raises nothing.

    Only in the main thread, and only where SIGINT would have raised KeyboardInterrupt; elsewhere nothing changes.
    """

    def __init__(self) -> None:
        self.heard = 0
        self._mine = False

    def __enter__(self) -> CtrlC:
        if (
            threading.current_thread() is threading.main_thread()
            and signal.getsignal(signal.SIGINT) is signal.default_int_handler
        ):
            signal.signal(signal.SIGINT, self._hear)
            self._mine = True
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._mine:
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def _hear(self, _number: int, _frame: FrameType | None) -> None:
        self.heard += 1
