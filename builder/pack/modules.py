"""From the modules that left a buildroot to what a kmod package carries, and back as a host does it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from dataclasses import asdict
from pathlib import Path

from builder.errors import BuildError, StoreError, ToolError
from builder.model.modules import BuiltModules, JoinRow, PackedModule, join_list, signature_tail
from builder.model.sources import KernelObject, SourceFile
from builder.tools.rpms import extract_members, file_sha256
from builder.tools.zstd import pack_file, unpack_file

MODULES_FILE = "modules.json"


def pack_modules(
    rpm: Path, folder: str, names: Sequence[str], objects: Sequence[KernelObject], target: Path, jobs: int = 1
) -> tuple[PackedModule, ...]:
    """Pack the modules that an RPM has below ``folder`` into ``target``, each against its own object where it has one.

    ``jobs`` at a time; each is unpacked again and compared. Raises BuildError for a missing module, ToolError.
    """
    members = {name: f"{folder}/{name}.ko" for name in names}
    found = extract_members(rpm, tuple(members.values()))
    for member in members.values():
        if member not in found:
            raise BuildError(f"{rpm.name}: has no {member}", hint="the driver's modules in matrix.yaml name it")
    by_module = {o.module: o for o in objects}

    def pack(name: str) -> PackedModule:
        return _pack_module(name, found[members[name]], by_module.get(name), target)

    with ThreadPoolExecutor(jobs) as pool:
        # In the caller's context: its deadline is also theirs.
        waiting = [pool.submit(copy_context().run, pack, name) for name in sorted(members)]
        return tuple(future.result() for future in waiting)


def _pack_module(name: str, image: bytes, against: KernelObject | None, target: Path) -> PackedModule:
    plain, path = target / f"{name}.ko", target / f"{name}.ko.zst"
    plain.write_bytes(image)
    pack_file(plain, path, against.path if against else None)
    unpack_file(path, plain, against.path if against else None)
    if plain.read_bytes() != image:
        raise ToolError(f"{name}.ko: zstd did not give back what it had packed")
    plain.unlink()
    return PackedModule(
        name=name,
        path=path,
        sha256=hashlib.sha256(image).hexdigest(),
        size=len(image),
        object_sha256=against.sha256 if against else None,
    )


def unpack_module(packed: Path, against: Path | None, scratch: Path) -> bytes:
    """A compiled module, unpacked against its object as a host does it; raises ToolError."""
    plain = scratch / f"{packed.name}.plain"
    try:
        unpack_file(packed, plain, against)
        return plain.read_bytes()
    finally:
        plain.unlink(missing_ok=True)


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
    rows, parts = [], []
    for module in built.modules:
        against = by_digest[module.object_sha256] if module.object_sha256 else None
        image = unpack_module(module.path, against.path if against else None, target)
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
