"""Secrets over file descriptors, as release engineers hand them over."""

from __future__ import annotations

import os


def fd_of(secret: bytes) -> int:
    """A descriptor that yields this line and ends."""
    read, write = os.pipe()
    os.write(write, secret + b"\n")
    os.close(write)
    return read
