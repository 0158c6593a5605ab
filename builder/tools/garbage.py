"""How often Python looks for garbage in cycles."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

_NEW_OBJECTS = 50_000  # between two looks at the youngest


@contextmanager
def importing() -> Iterator[None]:
    """Import the program inside: it is not looked at while it comes, nor after; from then on ``look_rarely``."""
    gc.disable()
    try:
        yield
    finally:
        look_rarely()
        gc.enable()


def look_rarely() -> None:
    """Thousands of cells and packages live to the end of a run, and each look walks them all; what is there by now, the
    program itself, is not looked at any more.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 50, 50)
