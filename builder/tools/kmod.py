"""Kernel module files: plain bytes of compressed ones, and the signature that stands behind a module's own bytes."""

from __future__ import annotations

import lzma
import tempfile
import zlib
from pathlib import Path

from builder.errors import ToolError
from builder.model import modules
from builder.tools.zstd import unpack_files


def read_module_file(path: Path) -> bytes:
    """The plain bytes of a .ko, .ko.xz, .ko.zst or .ko.gz; raises ToolError for a damaged one."""
    try:
        if path.name.endswith(".xz"):
            return lzma.decompress(path.read_bytes())
        if path.name.endswith(".gz"):
            return zlib.decompress(path.read_bytes(), wbits=31)
    except (lzma.LZMAError, zlib.error, EOFError) as exc:
        raise ToolError(f"{path}: cannot be unpacked: {exc}") from exc
    if not path.name.endswith(".zst"):
        return path.read_bytes()
    with tempfile.TemporaryDirectory(prefix="repobuild-zstd-") as tmp:
        plain = Path(tmp, "module.ko")
        unpack_files([(path, plain)], None)
        return plain.read_bytes()


def split_signature(data: bytes) -> tuple[bytes, bytes]:
    """A module's own bytes and what is appended to sign them (``b""``: nothing is, or nothing that is a signature)."""
    try:
        plain, _signature = modules.split_signature(data)
    except ValueError:
        return data, b""
    return plain, data[len(plain) :]
