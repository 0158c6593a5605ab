"""Pack compiled modules against the objects they are linked with, and sign them (docs/adr/0012-join-at-install.md)."""

from builder.pack.modules import (
    MODULES_FILE,
    pack_modules,
    read_compiled,
    read_modules,
    unpack_modules,
    write_modules,
    write_parts,
)

__all__ = [
    "MODULES_FILE",
    "pack_modules",
    "read_compiled",
    "read_modules",
    "unpack_modules",
    "write_modules",
    "write_parts",
]
