"""Which of NVIDIA's two module trees drives which GPU generation.

Source: NVIDIA's open-gpu-kernel-modules (README, "Compatible GPUs": Turing and later) and its driver documentation
("Grace Hopper and Blackwell need the open modules").
"""

from __future__ import annotations

from collections.abc import Iterable

from builder.model.matrix import Flavor

BEFORE_OPEN = frozenset({"fermi", "kepler", "maxwell", "pascal", "volta"})
OPEN_ONLY = frozenset({"blackwell", "grace-hopper"})


def driven_by(flavor: Flavor, generations: Iterable[str]) -> tuple[str, ...]:
    """Those that modules of this flavor drive, in the order given; a generation not known here counts as both's."""
    without = BEFORE_OPEN if flavor is Flavor.OPEN else OPEN_ONLY
    return tuple(name for name in generations if name not in without)
