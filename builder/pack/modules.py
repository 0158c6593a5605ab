"""From the modules that left a buildroot to what a kmod package carries, and back as a host does it."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from pathlib import Path

from builder.errors import BuildError, StoreError, ToolError
from builder.model.modules import BuiltModules, JoinRow, PackedModule, join_list, signature_tail
from builder.model.sources import KernelObject, SourceFile
from builder.tools.rpms import extract_members, file_sha256
from builder.tools.zstd import pack_files, unpack_files

MODULES_FILE = "modules.json"
_ONE_PROCESS = 8 << 20  # bytes: so much is packed by one zstd before others have started


def read_compiled(rpm: Path, folder: str, names: Sequence[str], others: Sequence[str] = ()) -> dict[str, bytes]:
    """What a compilation left in its RPM below ``folder``: modules by name, and ``others`` by filename where they are.

    Raises BuildError for a missing module, ToolError.
    """
    members = {f"{folder}/{name}.ko": name for name in names} | {f"{folder}/{name}": name for name in others}
    found = extract_members(rpm, members)
    for member, name in members.items():
        if member not in found and name in names:
            raise BuildError(f"{rpm.name}: has no {member}", hint="the driver's modules in matrix.yaml name it")
    return {name: found[member] for member, name in members.items() if member in found}


def pack_modules(
    images: Mapping[str, bytes], objects: Sequence[KernelObject], target: Path, jobs: int = 1
) -> tuple[PackedModule, ...]:
    """Pack modules, given by name, into ``target``, each against its own object where it has one.

    ``jobs`` at a time; each is unpacked again and compared. Raises ToolError.
    """
    by_module = {o.module: o for o in objects}

    def pack(some: Sequence[str]) -> list[PackedModule]:
        return _pack({name: images[name] for name in some}, by_module.get(some[0]), target)

    lots = [[name] for name in images if name in by_module]
    alone = {name: len(image) for name, image in images.items() if name not in by_module}
    lots += _alike(alone, jobs if sum(alone.values()) > _ONE_PROCESS else 1)
    with ThreadPoolExecutor(jobs) as pool:
        # In the caller's context: its deadline is also theirs.
        waiting = [pool.submit(copy_context().run, pack, lot) for lot in lots]
        return tuple(sorted((module for future in waiting for module in future.result()), key=lambda m: m.name))


def _alike(sizes: Mapping[str, int], count: int) -> list[list[str]]:
    """Names in at most so many lots of about the same size together."""
    lots: list[list[str]] = [[] for _ in range(count)]
    for name in sorted(sizes, key=sizes.__getitem__, reverse=True):
        min(lots, key=lambda lot: sum(sizes[other] for other in lot)).append(name)
    return [lot for lot in lots if lot]


def _pack(images: Mapping[str, bytes], against: KernelObject | None, target: Path) -> list[PackedModule]:
    """Pack modules, and unpack them again to see that they are whole."""
    files = [(target / f"{name}.ko", target / f"{name}.ko.zst") for name in images]
    for (plain, _), image in zip(files, images.values(), strict=True):
        plain.write_bytes(image)
    pack_files(files, against.path if against else None)
    unpack_files([(packed, plain) for plain, packed in files], against.path if against else None)
    for (plain, _), image in zip(files, images.values(), strict=True):
        if plain.read_bytes() != image:
            raise ToolError(f"{plain.name}: zstd did not give back what it had packed")
        plain.unlink()
    return [
        PackedModule(
            name=name,
            path=packed,
            sha256=hashlib.sha256(image).hexdigest(),
            size=len(image),
            object_sha256=against.sha256 if against else None,
        )
        for (name, image), (_, packed) in zip(images.items(), files, strict=True)
    ]


def unpack_modules(packed: Sequence[Path], against: Path | None, scratch: Path) -> list[bytes]:
    """Compiled modules, unpacked against their object as a host does it; raises ToolError."""
    with tempfile.TemporaryDirectory(prefix=".plain-", dir=scratch) as tmp:
        files = [(path, Path(tmp, str(number))) for number, path in enumerate(packed)]  # names may be the same
        unpack_files(files, against)
        return [plain.read_bytes() for _, plain in files]


def write_parts(
    built: BuiltModules,
    objects: Sequence[KernelObject],
    objects_folder: str,
    sign: Callable[[bytes], bytes] | None,
    target: Path,
) -> tuple[SourceFile, ...]:
    """What a kmod package is packed from: the packed modules, a signature each where ``sign`` makes them, the list.

    ``objects_folder`` is where the objects lie on the host. Raises StoreError when a kept module is not what it was.
    """
    by_digest = {o.sha256: o for o in objects}
    alone = [module.path for module in built.modules if module.object_sha256 is None]
    images = dict(zip(alone, unpack_modules(alone, None, target), strict=True)) if alone else {}
    rows, parts = [], []
    for module in built.modules:
        against = by_digest[module.object_sha256] if module.object_sha256 else None
        if against is not None:
            (images[module.path],) = unpack_modules([module.path], against.path, target)
        image = images.pop(module.path)
        if hashlib.sha256(image).hexdigest() != module.sha256:
            raise StoreError(
                f"{module.path}: this packed module is damaged", hint=f"remove {built.folder}; it is compiled again"
            )
        parts.append(_source(module.path))
        if sign is not None:
            tail = signature_tail(sign(image))
            image += tail
            signature = target / f"{module.name}.ko.sig"
            signature.write_bytes(tail)
            parts.append(_source(signature))
        rows.append(
            JoinRow(
                module=module.name,
                sha256=hashlib.sha256(image).hexdigest(),
                signed=sign is not None,
                object_path=f"{objects_folder}/{against.filename}" if against else None,
                object_sha256=module.object_sha256,
            )
        )
    listing = target / "modules"
    listing.write_text(join_list(tuple(rows)))
    return (*parts, _source(listing))


def write_modules(built: BuiltModules, folder: Path) -> None:
    """Describe compiled modules in their folder, as ``read_modules`` reads it."""
    document = {
        "key": built.key,
        "unit": built.unit_id,
        "seconds": built.seconds,
        "modules": [{**asdict(m), "path": m.path.name} for m in built.modules],
    }
    (folder / MODULES_FILE).write_text(json.dumps(document, indent=1, sort_keys=True))


def read_modules(folder: Path) -> BuiltModules:
    """Read what ``write_modules`` wrote; raises StoreError when it is damaged."""
    try:
        document: Mapping[str, object] = json.loads((folder / MODULES_FILE).read_text())
        rows = document["modules"]
        assert isinstance(rows, list)  # noqa: S101
        return BuiltModules(
            key=str(document["key"]),
            unit_id=str(document["unit"]),
            folder=folder,
            modules=tuple(PackedModule(**{**row, "path": folder / row["path"]}) for row in rows),
            seconds=float(str(document["seconds"])),
        )
    except (OSError, ValueError, KeyError, TypeError) as exc:
        raise StoreError(
            f"{folder}: these modules are damaged: {exc}", hint="remove the folder; the next run compiles them again"
        ) from exc


def _source(path: Path) -> SourceFile:
    return SourceFile(filename=path.name, path=path, sha256=file_sha256(path), size=path.stat().st_size)
