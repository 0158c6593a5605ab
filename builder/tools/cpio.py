"""Archives in cpio's "newc" format as the kernel unpacks them (Documentation/driver-api/early-userspace/).

Same entries, same bytes: owner root, time 0, inode numbers by order. Own code because the program ``cpio`` needs every
file, device nodes included, laid out on a disk first.
"""

from __future__ import annotations

import shutil
import stat
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

_TRAILER = "TRAILER!!!"
_ALIGN = 4
_LIMIT = 1 << 32  # bytes; sizes are eight hexadecimal digits


@dataclass(frozen=True, slots=True, kw_only=True)
class CpioEntry:
    """One member; ``content`` is a regular file's bytes or the file to copy, a symbolic link's target."""

    name: str  # relative path
    mode: int  # type and permission bits, as in stat
    content: bytes | Path = b""
    device: tuple[int, int] = (0, 0)  # major and minor number of a device node


def folder_entry(name: str) -> CpioEntry:
    """A folder."""
    return CpioEntry(name=name, mode=stat.S_IFDIR | 0o755)


def file_entry(name: str, content: bytes | Path, *, executable: bool = False) -> CpioEntry:
    """A regular file."""
    return CpioEntry(name=name, mode=stat.S_IFREG | (0o755 if executable else 0o644), content=content)


def link_entry(name: str, target: str) -> CpioEntry:
    """A symbolic link."""
    return CpioEntry(name=name, mode=stat.S_IFLNK | 0o777, content=target.encode())


def write_cpio(entries: Iterable[CpioEntry], path: Path) -> None:
    """Write the entries in their order; folders must come before what is in them."""
    with path.open("wb") as file:
        for number, entry in enumerate(entries, start=1):
            _write(file, number, entry)
        _write(file, 0, CpioEntry(name=_TRAILER, mode=0))


def _write(file: BinaryIO, number: int, entry: CpioEntry) -> None:
    size = entry.content.stat().st_size if isinstance(entry.content, Path) else len(entry.content)
    if size >= _LIMIT:
        raise ValueError(f"{entry.name}: {size} bytes are too much for a newc archive")
    name = entry.name.encode() + b"\0"
    links = 2 if stat.S_ISDIR(entry.mode) else 1
    fields = (number, entry.mode, 0, 0, links, 0, size, 0, 0, *entry.device, len(name), 0)
    header = b"070701" + b"".join(b"%08X" % field for field in fields) + name
    file.write(header + bytes(-len(header) % _ALIGN))
    if isinstance(entry.content, Path):
        with entry.content.open("rb") as source:
            shutil.copyfileobj(source, file, 1 << 20)
    else:
        file.write(entry.content)
    file.write(bytes(-size % _ALIGN))
