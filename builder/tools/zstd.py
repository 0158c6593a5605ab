"""zstd: files packed against an object that the reader has too (``--patch-from``, zstd 1.4.5 and newer)."""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path

from builder.errors import ToolError, ToolMissingError
from builder.tools.relocations import arrange, restore
from builder.tools.run import run

_TIMEOUT = 1800.0  # seconds
_WINDOW = "--long=27"  # 128 MiB: object and module together; what every decoder on 64-bit allows when told so
# Levels by measurement (docs/adr/0012-join-at-install.md): a big module changes little above 3, a small one packs fast.
_LEVEL_AGAINST_OBJECT = "-6"
_LEVEL_ALONE = "-19"
# Before the packed data, where relocation tables are arranged: a frame that zstd itself skips (RFC 8878, 3.1.2).
_ARRANGED = b"\x5e\x2a\x4d\x18" + (8).to_bytes(4, "little") + b"RELA v1\0"


@cache
def version() -> str:
    """Version of the program; raises ToolMissingError when it is not there or too old to pack against a file."""
    found = re.search(r"v(\d+)\.(\d+)\.(\d+)", run(["zstd", "--version"], timeout=60).stdout)
    if found is None or tuple(int(n) for n in found.groups()) < (1, 4, 5):
        raise ToolMissingError("zstd 1.4.5 or newer is needed on the machine that builds", hint="install a newer zstd")
    return ".".join(found.groups())


def pack_file(plain: Path, packed: Path, against: Path | None) -> None:
    """Write ``packed``; the same bytes for the same input and zstd version. ``against`` is needed again to unpack.

    An object file's relocation tables are arranged first, so zstd alone does not give it back: ``unpack_file`` does.
    """
    version()
    arranged = arrange(plain.read_bytes())
    if arranged is not None:
        rearranged = packed.with_name(f"{packed.name}.arranged")
        rearranged.write_bytes(arranged)
        try:
            _compress(rearranged, packed, against)
        finally:
            rearranged.unlink()
        packed.write_bytes(_ARRANGED + packed.read_bytes())
    else:
        _compress(plain, packed, against)


def _compress(plain: Path, packed: Path, against: Path | None) -> None:
    how = [_LEVEL_ALONE] if against is None else [_LEVEL_AGAINST_OBJECT, _WINDOW, f"--patch-from={against}"]
    run(["zstd", "-q", "-T1", "--check", *how, "-f", plain, "-o", packed], timeout=_TIMEOUT)


def unpack_file(packed: Path, plain: Path, against: Path | None) -> None:
    """Undo ``pack_file``; raises ToolError for a damaged file and for another ``against`` than it was packed with."""
    how = [] if against is None else [_WINDOW, f"--patch-from={against}"]
    done = run(["zstd", "-q", "-d", *how, "-f", packed, "-o", plain], timeout=_TIMEOUT, ok=(0, 1))
    if done.returncode:
        raise ToolError(f"{packed.name}: zstd cannot unpack it: {done.stderr.strip()}")
    with packed.open("rb") as file:
        arranged = file.read(len(_ARRANGED)) == _ARRANGED
    if arranged:
        try:
            plain.write_bytes(restore(plain.read_bytes()))
        except ValueError as exc:
            raise ToolError(f"{packed.name}: cannot be unpacked: {exc}") from exc
