"""Relocation tables of an object file in an order that compresses well (docs/adr/0012-join-at-install.md).

A table's row is three 64-bit words: offset, symbol and type, addend (Elf64_Rela). Row by row they grow by little, and
what linking or objtool renumbered differs from NVIDIA's object in every row. ``arrange`` writes of each word what it
grew by, and of all rows first the lowest byte, then the next. ``specs/nvidia-kmod-unpatch.c`` undoes it on a host.
"""

from __future__ import annotations

import struct
from array import array
from itertools import accumulate, pairwise

_ROW = 24  # bytes: sizeof(Elf64_Rela)
_WORDS = 3  # in a row
_MASK = (1 << 64) - 1
_HEADER = struct.Struct("<16s24xQ10xHH2x")  # identification, e_shoff, e_shentsize, e_shnum of Elf64_Ehdr
_SECTION = struct.Struct("<4xI16xQQ24x")  # sh_type, sh_offset, sh_size of Elf64_Shdr
_SHT_RELA = 4
_ELF64_LITTLE = b"\x7fELF\x02\x01"


def arrange(image: bytes) -> bytes | None:
    """The image with its tables arranged, as long as before; None when it has none that ``restore`` would find."""
    try:
        tables = _tables(image)
    except ValueError:
        return None
    arranged = bytearray(image)
    for table in tables:
        arranged[table] = _columns(image[table])
    return bytes(arranged) if tables else None


def restore(arranged: bytes) -> bytes:
    """Undo ``arrange``; raises ValueError for what it cannot have written."""
    image = bytearray(arranged)
    for table in _tables(arranged):
        image[table] = _rows(arranged[table])
    return bytes(image)


def _tables(image: bytes) -> list[slice]:
    """Where relocation tables lie: apart from one another and from the headers that are read to find them."""
    if not image.startswith(_ELF64_LITTLE) or len(image) < _HEADER.size:
        raise ValueError("not an ELF64 file of little endian")
    _, start, row, count = _HEADER.unpack_from(image)
    if row != _SECTION.size or start + row * count > len(image):
        raise ValueError("its section headers are not in it")
    tables: list[slice] = []
    taken = [(0, _HEADER.size), (start, start + row * count)]
    for number in range(count):
        kind, offset, size = _SECTION.unpack_from(image, start + row * number)
        if kind == _SHT_RELA and size:
            if size % _ROW or offset + size > len(image):
                raise ValueError(f"the table of section {number} is not in it")
            tables.append(slice(offset, offset + size))
            taken.append((offset, offset + size))
    taken.sort()
    if any(end > following for (_, end), (following, _) in pairwise(taken)):
        raise ValueError("its tables overlap")
    return tables


def _columns(table: bytes) -> bytes:
    words = array("Q", table)
    grown = [(word - before) & _MASK for word, before in zip(words[_WORDS:], words, strict=False)]
    rows = (words[:_WORDS] + array("Q", grown)).tobytes()
    return b"".join(rows[column::_ROW] for column in range(_ROW))


def _rows(columns: bytes) -> bytes:
    rows, height = bytearray(len(columns)), len(columns) // _ROW
    for column in range(_ROW):
        rows[column::_ROW] = columns[column * height : (column + 1) * height]
    words = array("Q", bytes(rows))
    for word in range(_WORDS):
        words[word::_WORDS] = array("Q", [total & _MASK for total in accumulate(words[word::_WORDS])])
    return words.tobytes()
