"""Builders: one contract, SRPM and chroot description in, resultdir out."""

from __future__ import annotations

from builder.build.chroot import ChrootBuilder
from builder.build.contract import Builder
from builder.build.host import HostBuilder
from builder.build.srpm import make_srpm
from builder.errors import ToolMissingError
from builder.store import Store

__all__ = ["Builder", "ChrootBuilder", "HostBuilder", "make_srpm", "open_builder"]

NAMES = ("auto", "chroot", "host", "mock")


def open_builder(name: str, store: Store) -> Builder:
    """The builder of that name; ``auto`` is chroot. Raises ToolMissingError for mock, ValueError for another name."""
    if name in ("auto", "chroot"):
        return ChrootBuilder(store)
    if name == "host":
        return HostBuilder(store)
    if name == "mock":
        raise ToolMissingError(
            "builder mock: this version of repobuild cannot drive mock yet",
            hint="use --builder chroot: the same dnf and rpmbuild in a root of their own",
        )
    raise ValueError(f"{name!r} is not one of {', '.join(NAMES)}")
