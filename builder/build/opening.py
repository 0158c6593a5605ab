"""Which builder a name stands for."""

from __future__ import annotations

from collections.abc import Callable

from builder.build.chroot import ChrootBuilder
from builder.build.contract import Builder
from builder.build.host import HostBuilder
from builder.build.mock import MockBuilder, require_mock
from builder.model.matrix import Chroot
from builder.store import Store
from builder.tools.run import which

NAMES = ("auto", "chroot", "host", "mock")


def open_builder(name: str, store: Store, mock_configuration: Callable[[Chroot], str]) -> Builder:
    """The builder of that name; ``auto`` is mock where it is installed, else chroot.

    ``mock_configuration`` renders a chroot's mock configuration. Raises ToolMissingError where mock is asked for and
    not there, BuildrootError where it cannot work, ValueError for another name.
    """
    if name == "auto":
        name = "chroot" if which("mock") is None else "mock"
    if name == "chroot":
        return ChrootBuilder(store)
    if name == "host":
        return HostBuilder(store)
    if name == "mock":
        require_mock()
        return MockBuilder(store, mock_configuration)
    raise ValueError(f"{name!r} is not one of {', '.join(NAMES)}")
