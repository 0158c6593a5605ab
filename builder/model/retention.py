"""What a work folder and its publications hold, and what becomes of each when space is freed."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class StoredFile:
    """A file by its inode: several names may be links to one."""

    inode: tuple[int, int]  # device, number
    size: int  # bytes
    links: int  # names it has on its filesystem


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """One thing that is kept or removed as a whole."""

    kind: str  # sources, prepared, modules, results, signed, roots, conftest, partial, logs, generations
    name: str  # its key, digest or folder
    path: Path  # absolute
    used: float  # last use, seconds since the epoch
    files: tuple[StoredFile, ...]
    about: str = ""  # the unit, file or chroot that it is of


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """Why something stays, whenever it was used and however little space there is."""

    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Fate:
    """A stored thing, whether it stays, and why."""

    item: Stored
    stays: bool
    reason: str
    frees: int  # bytes that its removal frees, each inode counted once; 0 for what stays


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """What freeing space did or would do."""

    fates: tuple[Fate, ...]  # by kind and name
    total: int  # bytes of everything looked at, each inode counted once
    rows: int  # ledger rows about things that are gone
    removed: bool  # False: nothing was changed

    @property
    def frees(self) -> int:
        """Bytes."""
        return sum(fate.frees for fate in self.fates)
