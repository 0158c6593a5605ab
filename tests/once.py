"""What takes long to make and is only looked at or copied: made by one test process, used by all.

It stays while the tests run; folders of a module go with the module where they lie in memory (tests/conftest.py).
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable
from pathlib import Path

import pytest

KEPT = "kept"


def session_top(factory: pytest.TempPathFactory) -> Path:
    """Where all folders of a run of pytest lie, of all its processes."""
    top = factory.getbasetemp()
    return top.parent if "PYTEST_XDIST_WORKER" in os.environ else top


def _kept(factory: pytest.TempPathFactory) -> Path:
    folder = session_top(factory) / KEPT
    folder.mkdir(exist_ok=True)
    return folder


def session_folder(factory: pytest.TempPathFactory, name: str) -> Path:
    """An empty folder of one test process for what it needs to its end: as ``mktemp``, which is for modules."""
    folder = _kept(factory) / f"{name}-of-{os.environ.get('PYTEST_XDIST_WORKER', 'all')}"
    folder.mkdir()
    return folder


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """A folder that ``make`` fills, once in a run of pytest however many processes it has; the others wait for it.

    Empty before; what a failed attempt left is in the way of no other (its number goes up).
    """
    top = _kept(factory)
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
