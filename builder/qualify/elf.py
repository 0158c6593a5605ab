"""Read what a kernel module says about itself from its ELF file (ELF64 little endian: x86_64, aarch64).

Only the tables that module loading looks at, with ``struct``: a 65 MB module has some 100,000 symbols, which a general
ELF library takes many seconds for. Sections: linux/scripts/mod/modpost.c and include/linux/export-internal.h.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass

_HEADER = struct.Struct("<16sHHIQQQIHHHHHH")
_SECTION = struct.Struct("<IIQQQQIIQQ")
_SYMBOL = struct.Struct("<IBBHQQ")
_VERSION = struct.Struct("<Q56s")  # struct modversion_info on 64-bit
_SHN_ABS = 0xFFF1
_SHT_NOBITS = 8
_STB_WEAK = 2
_RELOCATABLE = 1


class ModuleFormatError(ValueError):
    """The bytes are no kernel module: truncated, of another class, or without what every module has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Export:
    """A symbol that a module exports."""

    crc: int | None  # None: without a CRC
    gpl: bool  # for GPL-compatible modules only


@dataclass(frozen=True, slots=True, kw_only=True)
class Module:
    """What module loading looks at."""

    name: str  # file name without .ko
    vermagic: str
    version: str  # "" when it has none
    license: str
    versions: dict[str, int]  # imported symbol -> CRC it was built against
    imports: frozenset[str]  # undefined symbols that must be resolved
    exports: dict[str, Export]
    namespaces: frozenset[str] = frozenset()  # of symbols, that it says it imports from
    firmware: tuple[str, ...] = ()  # files below the firmware folder that it may ask for


@dataclass(frozen=True, slots=True, kw_only=True)
class _Section:
    name: str
    offset: int
    size: int
    link: int
    type: int


def read_module(name: str, data: bytes) -> Module:
    """Read a module's image; raises ModuleFormatError."""
    try:
        return _read(name, data)
    except (struct.error, IndexError, UnicodeDecodeError, KeyError) as exc:
        raise ModuleFormatError(f"its ELF tables are damaged: {exc}") from exc


def section_differences(first: bytes, second: bytes) -> list[str]:
    """In which sections two modules differ, one line each, in their order; raises ModuleFormatError."""
    try:
        tables = [{s.name: _content(data, s) for s in _sections(data)} for data in (first, second)]
    except (struct.error, IndexError, UnicodeDecodeError) as exc:
        raise ModuleFormatError(f"its ELF tables are damaged: {exc}") from exc
    lines = []
    for name in dict.fromkeys([*tables[0], *tables[1]]):
        before, now = (table.get(name) for table in tables)
        if before is None or now is None:
            lines.append(f"section {name} is only in the {'second' if before is None else 'first'}")
        elif len(before) != len(now):
            lines.append(f"section {name} has {len(before)} bytes, then {len(now)}")
        elif before != now:
            at = next(i for i, (a, b) in enumerate(zip(before, now, strict=True)) if a != b)
            old, new = before[at : at + 8].hex(), now[at : at + 8].hex()
            lines.append(f"section {name} differs from offset {at:#x}: {old}, then {new}")
    return lines or ["only what stands between the sections differs"]


def _read(name: str, data: bytes) -> Module:
    sections = _sections(data)
    by_name = {section.name: section for section in sections}
    if ".modinfo" not in by_name or ".symtab" not in by_name:
        raise ModuleFormatError("it has no .modinfo or no .symtab")
    fields = list(_modinfo(_content(data, by_name[".modinfo"])))
    info = dict(fields)
    imports: set[str] = set()
    marked: dict[str, bool] = {}  # exported name -> GPL only
    crcs: dict[str, int] = {}
    for symbol, bind, index, value in _symbols(data, by_name[".symtab"], sections):
        if index == 0:
            if bind != _STB_WEAK and symbol != "_GLOBAL_OFFSET_TABLE_":  # the kernel's module loader skips both
                imports.add(symbol)
        elif symbol.startswith("__ksymtab_"):
            marked[symbol.removeprefix("__ksymtab_")] = sections[index].name.lstrip("_").startswith("ksymtab_gpl")
        elif symbol.startswith("__crc_"):
            crcs[symbol.removeprefix("__crc_")] = _crc(data, sections, index, value)
    return Module(
        name=name,
        vermagic=info.get("vermagic", ""),
        version=info.get("version", ""),
        license=info.get("license", ""),
        versions=_versions(data, by_name.get("__versions")),
        imports=frozenset(imports),
        exports={exported: Export(crc=crcs.get(exported), gpl=gpl) for exported, gpl in marked.items()},
        namespaces=frozenset(value for key, value in fields if key == "import_ns"),
        firmware=tuple(sorted(value for key, value in fields if key == "firmware")),
    )


def _sections(data: bytes) -> list[_Section]:
    ident, kind, *_, table, _flags, _size, _phsize, _phnum, entry_size, count, names = _HEADER.unpack_from(data)
    if ident[:4] != b"\x7fELF" or ident[4:6] != b"\x02\x01":
        raise ModuleFormatError("it is not ELF64 little endian")
    if kind != _RELOCATABLE or entry_size != _SECTION.size:
        raise ModuleFormatError("it is not a relocatable object")
    if table + count * entry_size > len(data):
        raise ModuleFormatError("it is truncated: its section table lies behind its end")
    raw = list(_SECTION.iter_unpack(data[table : table + count * entry_size]))
    strings = raw[names]
    table_of_names = data[strings[4] : strings[4] + strings[5]]
    return [
        _Section(name=_string(table_of_names, row[0]), offset=row[4], size=row[5], link=row[6], type=row[1])
        for row in raw
    ]


def _content(data: bytes, section: _Section) -> bytes:
    if section.type == _SHT_NOBITS:
        return b""
    if section.offset + section.size > len(data):
        raise ModuleFormatError(f"it is truncated: section {section.name} lies behind its end")
    return data[section.offset : section.offset + section.size]


def _string(table: bytes, offset: int) -> str:
    return table[offset : table.index(b"\0", offset)].decode() if offset < len(table) else ""


def _modinfo(content: bytes) -> Iterator[tuple[str, str]]:
    for item in content.split(b"\0"):
        key, sign, value = item.decode(errors="replace").partition("=")
        if sign:
            yield key, value


def _symbols(data: bytes, symtab: _Section, sections: list[_Section]) -> Iterator[tuple[str, int, int, int]]:
    """Name, binding, section index and value of the named symbols that matter here: undefined, __ksymtab_, __crc_."""
    strings = _content(data, sections[symtab.link])
    for name, info, _other, index, value, _size in _SYMBOL.iter_unpack(_content(data, symtab)):
        if name and (index == 0 or strings.startswith((b"__ksymtab_", b"__crc_"), name)):
            yield strings[name : strings.index(b"\0", name)].decode(), info >> 4, index, value


def _crc(data: bytes, sections: list[_Section], index: int, value: int) -> int:
    """Absolute symbols carry the CRC as their value; relative ones (MODULE_REL_CRCS, 6.x) stand where it is stored."""
    if index == _SHN_ABS:
        return value & 0xFFFFFFFF
    return int(struct.unpack_from("<I", _content(data, sections[index]), value)[0])


def _versions(data: bytes, section: _Section | None) -> dict[str, int]:
    if section is None:
        return {}
    rows = _VERSION.iter_unpack(_content(data, section))
    return {name.split(b"\0", 1)[0].decode(): crc & 0xFFFFFFFF for crc, name in rows}
