"""Pack compiled modules against the objects they are linked with, and sign them (docs/adr/0011-join-at-install.md)."""

from builder.pack.modules import (
    MODULES_FILE,
    join_module,
    pack_modules,
    read_modules,
    write_modules,
    write_parts,
)

__all__ = ["MODULES_FILE", "join_module", "pack_modules", "read_modules", "write_modules", "write_parts"]
