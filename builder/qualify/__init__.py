"""Check what was built against what was planned, without loading anything: level "static"."""

from builder.qualify.kmods import qualify_kmod
from builder.qualify.packages import qualify_packages

__all__ = ["qualify_kmod", "qualify_packages"]
