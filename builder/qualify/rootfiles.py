"""Files of an installed root as the root itself sees them: symbolic links stay inside it, libraries are found.

Nothing of the root is run. ELF: gABI chapters 5 (dynamic linking); search order: ld.so(8).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

_EHDR = struct.Struct("<16sHHIQQQIHHHHHH")
_PHDR = struct.Struct("<IIQQQQQQ")
_DYN = struct.Struct("<qQ")
_PT_LOAD, _PT_DYNAMIC, _PT_INTERP = 1, 2, 3
_DT_NEEDED, _DT_STRTAB, _DT_RPATH, _DT_RUNPATH = 1, 5, 15, 29
_LINKS = 40  # more in one path is a loop (the kernel's own limit)
_LIBRARY_FOLDERS = ("/lib64", "/usr/lib64", "/lib", "/usr/lib")


class RootFileError(ValueError):
    """The root lacks a file that is needed, or the file is damaged."""


def walk(root: Path, path: str) -> Iterator[tuple[str, str | None]]:
    """Every step to a path inside a root: (absolute path inside, target of a symbolic link or None), the last one real.

    Raises RootFileError where a step is missing or the links go in circles.
    """
    todo = [part for part in PurePosixPath(path).parts if part != "/"]
    done: list[str] = []
    links = 0
    while todo:
        part = todo.pop(0)
        if part == "..":
            done = done[:-1]
            continue
        inside = "/" + "/".join([*done, part])
        real = root / inside.lstrip("/")
        if real.is_symlink():
            links += 1
            if links > _LINKS:
                raise RootFileError(f"{path}: too many symbolic links")
            target = os.readlink(real)  # noqa: PTH115  Path would normalize it
            yield inside, target
            if target.startswith("/"):
                done = []
            todo = [p for p in PurePosixPath(target).parts if p != "/"] + todo
            continue
        if not real.exists():
            raise RootFileError(f"{inside} is missing" + (f" ({path} leads there)" if inside != path else ""))
        yield inside, None
        done.append(part)


def resolve(root: Path, path: str) -> Path:
    """The real file behind a path inside a root, as seen from outside; raises RootFileError."""
    steps = list(walk(root, path))
    return root / steps[-1][0].lstrip("/") if steps else root


def find_file(root: Path, name: str, folders: tuple[str, ...]) -> str | None:
    """The first of these folders (paths inside) that has this file: its path inside, None when none has it."""
    for folder in folders:
        inside = f"{folder}/{name}"
        try:
            if resolve(root, inside).is_file():
                return inside
        except RootFileError:
            continue
    return None


def library_folders(root: Path) -> tuple[str, ...]:
    """Where the root's dynamic linker looks, by its ld.so.conf and its defaults."""
    return tuple(dict.fromkeys((*_configured(root, "/etc/ld.so.conf"), *_LIBRARY_FOLDERS)))


def _configured(root: Path, path: str) -> Iterator[str]:
    try:
        lines = resolve(root, path).read_text(errors="replace").splitlines()
    except (RootFileError, OSError):
        return
    for line in lines:
        words = line.partition("#")[0].split()
        if words[:1] == ["include"]:
            for pattern in words[1:]:
                for file in sorted(root.glob(pattern.lstrip("/"))):
                    yield from _configured(root, f"/{file.relative_to(root)}")
        elif words:
            yield words[0]


def needed_files(root: Path, path: str, folders: tuple[str, ...]) -> set[str]:
    """Paths inside of the libraries, with theirs, and of the dynamic linker that a program needs; raises RootFileError.

    What is no ELF file (a script) needs nothing that could be seen from it.
    """
    found: set[str] = set()
    todo = [path]
    while todo:
        current = todo.pop()
        interpreter, names, own = read_dynamic(resolve(root, current).read_bytes())
        own = tuple(f.replace("$ORIGIN", str(PurePosixPath(current).parent)) for f in own)
        wanted = [interpreter] if interpreter else []
        for name in names:
            library = find_file(root, name, (*own, *folders))
            if library is None:
                raise RootFileError(f"{current} needs {name}, which the root does not have")
            wanted.append(library)
        todo += [file for file in wanted if file not in found]
        found.update(wanted)
    return found


def read_dynamic(data: bytes) -> tuple[str, tuple[str, ...], tuple[str, ...]]:
    """Interpreter, NEEDED names and run paths of an ELF64 file; empty for anything else. Raises RootFileError."""
    if data[:6] != b"\x7fELF\x02\x01":
        return "", (), ()
    try:
        header = _EHDR.unpack_from(data)
        offset, size, count = header[5], header[9], header[10]
        rows = [_PHDR.unpack_from(data, offset + n * size) for n in range(count)]
        interpreter = next((data[r[2] : r[2] + r[5]].rstrip(b"\0").decode() for r in rows if r[0] == _PT_INTERP), "")
        dynamic = next((data[r[2] : r[2] + r[5]] for r in rows if r[0] == _PT_DYNAMIC), b"")
        tags = list(_DYN.iter_unpack(dynamic[: len(dynamic) // _DYN.size * _DYN.size]))
        strings = next((value for tag, value in tags if tag == _DT_STRTAB), 0)
        table = next((strings - r[3] + r[2] for r in rows if r[0] == _PT_LOAD and 0 <= strings - r[3] < r[5]), 0)
        texts = [
            (tag, _text(data, table + value)) for tag, value in tags if tag in {_DT_NEEDED, _DT_RPATH, _DT_RUNPATH}
        ]
    except (struct.error, ValueError) as exc:
        raise RootFileError(f"its ELF tables are damaged: {exc}") from exc
    paths = [folder for tag, text in texts if tag != _DT_NEEDED for folder in text.split(":") if folder]
    return interpreter, tuple(text for tag, text in texts if tag == _DT_NEEDED), tuple(paths)


def _text(data: bytes, offset: int) -> str:
    return data[offset : data.index(b"\0", offset)].decode()
