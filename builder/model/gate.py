"""What a gate is made of: the kernels of a distribution × arch and the kmod each has."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.cells import Artifact
from builder.model.matrix import Kernel
from builder.model.nevra import Nevra


@dataclass(frozen=True, slots=True, kw_only=True)
class GateKernel:
    """A kernel that the matrix knows, and the kmod that one driver × flavor has for it."""

    kernel: Kernel
    kmod: Nevra | None  # None: this kernel has no module of that driver × flavor
    rpm: Artifact | None = None  # that kmod's package as it was built and qualified
