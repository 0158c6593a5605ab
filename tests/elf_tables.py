"""A small ELF file with relocation tables, as a linker lays one out: real enough for who reads tables only."""

from __future__ import annotations

import random
import struct
from collections.abc import Sequence

SHT_PROGBITS, SHT_RELA, SHT_NOBITS = 1, 4, 8


def elf_file(sections: Sequence[tuple[int, int, int]], size: int, *, shoff: int | None = None) -> bytearray:
    """``size`` bytes of noise between the header and the section headers, of which each is (type, offset, size)."""
    noise = random.Random(size).randbytes(size)
    start = 64 + size if shoff is None else shoff
    header = struct.pack(
        "<16sHHIQQQIHHHHHH", b"\x7fELF\x02\x01\x01", 1, 62, 1, 0, 0, start, 0, 64, 0, 0, 64, len(sections), 0
    )
    rows = [struct.pack("<IIQQQQIIQQ", 0, kind, 0, 0, offset, length, 0, 0, 8, 24) for kind, offset, length in sections]
    return bytearray(header + noise + b"".join(rows))


def table(rows: int) -> bytes:
    """A relocation table as objtool writes one: offsets that grow by little, one symbol, addends that grow."""
    return b"".join(struct.pack("<QQq", 4 * n, (7 << 32) | 2, 16 * n - 4) for n in range(rows))


def module_with_tables(rows: int = 2000) -> bytes:
    """Text, two tables and an empty one."""
    first, second = table(rows), table(rows // 2)
    at = 64 + 500
    end = at + len(first) + len(second)
    sections = [
        (SHT_PROGBITS, 64, 500),
        (SHT_RELA, at, len(first)),
        (SHT_RELA, at + len(first), len(second)),
        (SHT_RELA, end, 0),
        (SHT_NOBITS, 0, 1 << 40),
    ]
    image = elf_file(sections, end - 64 + 8)
    image[at : at + len(first)] = first
    image[at + len(first) : end] = second
    return bytes(image)
