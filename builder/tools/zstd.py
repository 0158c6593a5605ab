"""zstd: files packed against an object that the reader has too (``--patch-from``, zstd 1.4.5 and newer)."""

from __future__ import annotations

import re
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
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


def pack_files(files: Sequence[tuple[Path, Path]], against: Path | None) -> None:
    """Write the second of each pair from the first; the same bytes for the same input and zstd version.

    ``against`` is needed again to unpack. An object file's relocation tables are arranged first, so zstd alone does not
    give it back: ``unpack_files`` does. Raises ToolError.
    """
    version()
    how = [_LEVEL_ALONE] if against is None else [_LEVEL_AGAINST_OBJECT, *_against(against)]
    with _scratch(files) as tmp:
        plains = [tmp / f"{number}-{packed.stem}" for number, (_, packed) in enumerate(files)]
        arranged = []
        for file, (plain, _) in zip(plains, files, strict=True):
            data = arrange(plain.read_bytes())
            arranged.append(data is not None)
            if data is None:
                file.symlink_to(plain.absolute())
            else:
                file.write_bytes(data)
        for some in _at_once(plains, against):
            run(["zstd", "-q", "-T1", "--check", *how, "-f", *some], timeout=_TIMEOUT)
        for file, (_, packed), mark in zip(plains, files, arranged, strict=True):
            made = file.with_name(f"{file.name}.zst")
            if mark:
                packed.write_bytes(_ARRANGED + made.read_bytes())
            else:
                made.replace(packed)


def unpack_files(files: Sequence[tuple[Path, Path]], against: Path | None) -> None:
    """Undo ``pack_files``: write the second of each pair from the first.

    Raises ToolError for a damaged file and for another ``against`` than it was packed with.
    """
    with _scratch(files) as tmp:
        sources = [tmp / f"{number}-{packed.stem}.zst" for number, (packed, _) in enumerate(files)]
        for file, (packed, _) in zip(sources, files, strict=True):
            file.symlink_to(packed.absolute())
        for some in _at_once(sources, against):
            done = run(["zstd", "-q", "-d", *_against(against), "-f", *some], timeout=_TIMEOUT, ok=(0, 1))
            if done.returncode:
                said = done.stderr.strip().replace(f"{tmp}/", "")
                names = ", ".join(packed.name for packed, _ in files)
                raise ToolError(f"{names}: zstd cannot unpack it: {said}")
        for file, (packed, plain) in zip(sources, files, strict=True):
            file.with_suffix("").replace(plain)
            _restore(packed, plain)


def _restore(packed: Path, plain: Path) -> None:
    with packed.open("rb") as file:
        arranged = file.read(len(_ARRANGED)) == _ARRANGED
    if arranged:
        try:
            plain.write_bytes(restore(plain.read_bytes()))
        except ValueError as exc:
            raise ToolError(f"{packed.name}: cannot be unpacked: {exc}") from exc


def _against(against: Path | None) -> list[str]:
    return [] if against is None else [_WINDOW, f"--patch-from={against.absolute()}"]


def _at_once(files: Sequence[Path], against: Path | None) -> list[Sequence[Path]]:
    """What one process is given: all, unless there is an object, which zstd takes with one file only."""
    return [files] if against is None else [[file] for file in files]


@contextmanager
def _scratch(files: Sequence[tuple[Path, Path]]) -> Iterator[Path]:
    """A folder on the disk that is written to: zstd names what it makes of several files after them."""
    with tempfile.TemporaryDirectory(prefix=".zstd-", dir=files[0][1].parent) as tmp:
        yield Path(tmp)
