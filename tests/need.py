"""A missing tool skips with its name on a laptop and fails where REPOBUILD_CI=1."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.tools.run import which


def need(*tools: str) -> None:
    """Skip (or, under REPOBUILD_CI=1, fail) the calling test unless every program is installed."""
    missing = [tool for tool in tools if which(tool) is None]
    if missing and os.environ.get("REPOBUILD_CI") == "1":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")


def need_root() -> None:
    """Skip (or, under REPOBUILD_CI=1, fail) the calling test unless it runs as root."""
    if os.geteuid() != 0:
        if os.environ.get("REPOBUILD_CI") == "1":
            pytest.fail("not root")
        pytest.skip("not root")


def need_header(header: str) -> None:
    """Skip (or, under REPOBUILD_CI=1, fail) the calling test unless the host's compiler finds a C header."""
    if not Path("/usr/include", header).is_file():
        if os.environ.get("REPOBUILD_CI") == "1":
            pytest.fail(f"not installed: {header}")
        pytest.skip(f"not installed: {header}")
