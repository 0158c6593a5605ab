"""How often Python looks for garbage in cycles."""

from __future__ import annotations

import gc

_NEW_OBJECTS = 50_000  # between two looks at the youngest


def look_rarely() -> None:
    """Thousands of cells and packages live to the end of a run, and each look walks them all; what is there by now, the
    program itself, is not looked at any more.
    """
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 50, 50)
