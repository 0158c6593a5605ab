"""Patches to a driver's kernel tree: which file, for which kernels and flavors, and why.

Whether a patch applies is decided by what matrix.yaml says of a kernel, never by the patch's own success: one that
applies to its cell and does not fit the tree fails the build.
"""

from __future__ import annotations

from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from builder.model.nevra import compare_evr

if TYPE_CHECKING:  # both say which patches they have
    from builder.model.cells import Cell
    from builder.model.matrix import Flavor


@dataclass(frozen=True, slots=True, kw_only=True)
class VersionRange:
    """``[epoch:]version[-release]`` from ``start`` on and before ``before``, as rpm orders them; None: no end there."""

    start: str | None = None  # the first that is in it
    before: str | None = None  # the first that is not

    def __contains__(self, evr: str) -> bool:
        after = self.start is None or compare_evr(evr, self.start) >= 0
        return after and (self.before is None or compare_evr(evr, self.before) < 0)

    @property
    def empty(self) -> bool:
        """Nothing can be in it: it ends where it starts, or before."""
        return self.start is not None and self.before is not None and compare_evr(self.start, self.before) >= 0


ANY_VERSION = VersionRange()


@dataclass(frozen=True, slots=True, kw_only=True)
class KernelRule:
    """A choice of kernels by their own fields; whatever is given must hold."""

    distribution: str | None = None
    variant: str | None = None
    release: str | None = None  # glob over `uname -r`
    versions: VersionRange = ANY_VERSION  # of the EVR of the package that owns vmlinuz

    def holds(self, *, distribution: str, variant: str, release: str, evr: str) -> bool:
        """Does a kernel with these fields belong to the choice?"""
        return (
            self.distribution in (None, distribution)
            and self.variant in (None, variant)
            and (self.release is None or fnmatchcase(release, self.release))
            and evr in self.versions
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Patch:
    """One unified diff, applied with ``patch -p1`` from the top of a kernel tree; its sha256 is its identity."""

    name: str  # of the file; no two of a branch have the same
    path: Path  # absolute
    sha256: str
    size: int  # bytes
    reason: str  # one line
    upstream: str | None = None  # where it comes from, or the change of the kernel that asks for it
    kernels: tuple[KernelRule, ...] = ()  # any of them; empty: every kernel
    flavors: tuple[Flavor, ...] = ()  # empty: every flavor

    def applies(self, cell: Cell) -> bool:
        """Is this driver's patch one of that cell?"""
        kernel = cell.kernel
        return (not self.flavors or cell.flavor in self.flavors) and (
            not self.kernels
            or any(
                rule.holds(
                    distribution=cell.distribution.name,
                    variant=kernel.variant,
                    release=kernel.release,
                    evr=kernel.core.evr.full,
                )
                for rule in self.kernels
            )
        )


def patches_of(cell: Cell) -> tuple[Patch, ...]:
    """The patches that a cell's kernel tree is built with, in the order they are applied (that of matrix.yaml)."""
    return tuple(patch for patch in cell.driver.patches if patch.applies(cell))
