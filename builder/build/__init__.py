"""Builders: one contract, SRPM and chroot description in, resultdir out."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from builder.build.chroot import ChrootBuilder
    from builder.build.contract import Builder
    from builder.build.failures import dependency_failure
    from builder.build.host import HostBuilder
    from builder.build.mock import MockBuilder
    from builder.build.opening import open_builder
    from builder.build.srpm import make_srpm

__all__ = ["Builder", "ChrootBuilder", "HostBuilder", "MockBuilder", "dependency_failure", "make_srpm", "open_builder"]

# Read when they are asked for: builder.build.inner starts once a build and needs none of them, nor what they need.
_PLACES = {
    "Builder": "contract",
    "ChrootBuilder": "chroot",
    "HostBuilder": "host",
    "MockBuilder": "mock",
    "dependency_failure": "failures",
    "make_srpm": "srpm",
    "open_builder": "opening",
}


def __getattr__(name: str) -> object:
    if name not in _PLACES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_PLACES[name]}"), name)
