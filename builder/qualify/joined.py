"""Join the modules of a kmod package as its list says, from the package itself and the objects."""

from __future__ import annotations

import hashlib
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ToolError, ToolMissingError
from builder.model.modules import MARKER, JoinRow, read_join_list
from builder.tools.rpms import extract_members, read_header
from builder.tools.zstd import unpack_files


@dataclass(frozen=True, slots=True, kw_only=True)
class Joined:
    """What a host would have, and why it would not have the rest."""

    images: dict[str, bytes]  # by module name; signatures included
    faults: list[str]


def join_package(rpm: Path, parts: str, objects: Mapping[str, Path]) -> Joined:
    """Join every module that the list of an RPM names; ``parts`` is its folder, ``objects`` are files by sha256."""
    members = {path for path in read_header(rpm).files if path.startswith(f"{parts}/")}
    payload = extract_members(rpm, members)
    try:
        rows = read_join_list(payload[f"{parts}/modules"].decode())
    except (KeyError, ValueError) as exc:
        return Joined(images={}, faults=[f"{parts}/modules is missing or damaged: {exc}"])
    images: dict[str, bytes] = {}
    faults: list[str] = []
    with tempfile.TemporaryDirectory(prefix="repobuild-join-") as tmp:
        for row in rows:
            try:
                images[row.module] = _join(row, payload, parts, objects, Path(tmp))
            except ToolMissingError:
                raise
            except (ToolError, ValueError) as exc:
                faults.append(f"{row.module}: {exc}")
    return Joined(images=images, faults=faults)


def _join(row: JoinRow, payload: Mapping[str, bytes], parts: str, objects: Mapping[str, Path], tmp: Path) -> bytes:
    packed = payload.get(f"{parts}/{row.module}.ko.zst")
    if packed is None:
        raise ValueError("its packed file is missing")
    against = None
    if row.object_sha256 is not None:
        against = objects.get(row.object_sha256)
        if against is None:
            raise ValueError(f"the object it is joined with is not this driver's ({row.object_sha256})")
        if hashlib.sha256(against.read_bytes()).hexdigest() != row.object_sha256:
            raise ValueError(f"{against.name} is damaged")
    packed_file, plain = tmp / f"{row.module}.ko.zst", tmp / f"{row.module}.ko"
    packed_file.write_bytes(packed)
    unpack_files([(packed_file, plain)], against)
    image = plain.read_bytes()
    if row.signed:
        image += payload.get(f"{parts}/{row.module}.ko.sig", b"")
        if not image.endswith(MARKER):
            raise ValueError("its signature is missing or damaged")
    if hashlib.sha256(image).hexdigest() != row.sha256:
        raise ValueError("joined, it is not what its list says (sha256 differs)")
    return image
