"""How far a cell's packages are tried before they are published."""

from __future__ import annotations

from enum import StrEnum


class Level(StrEnum):
    """Levels of qualification, each including those before it (boot is part of secureboot)."""

    STATIC = "static"  # the package and its modules are looked at, nothing is run
    INSTALL = "install"  # installed beside their kernel, found by its own modprobe
    BOOT = "boot"  # that kernel is booted and inserts them
    SECUREBOOT = "secureboot"  # the same under Secure Boot, with forgeries beside

    @property
    def rank(self) -> int:
        """0 for the lowest."""
        return list(Level).index(self)


def highest(*levels: Level) -> Level:
    """The highest of these, static of none."""
    return max(levels, key=lambda level: level.rank, default=Level.STATIC)
