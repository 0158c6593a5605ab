"""What takes long to make and is only looked at or copied: made by one test process, used by all."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` fills, once in a run of pytest however many processes it has; the others wait for it.

    Empty before; what a failed attempt left is in the way of no other (its number goes up).
    """
    top = factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        top = top.parent
    with (top / f"{name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        number = 0
        while (folder := top / f"{name}-{number}").exists():
            if (folder / ".whole").exists():
                return folder
            number += 1
        folder.mkdir()
        make(folder)
        (folder / ".whole").touch()
    return folder
