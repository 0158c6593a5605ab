"""Kernel modules on their way from a build to the host that joins them (docs/adr/0012-join-at-install.md)."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path

# Appended to a signed module: signature, struct module_signature, marker (linux/include/linux/module_signature.h).
MARKER = b"~Module signature appended~\n"
_PKCS7 = 2
_STRUCT_SIZE = 12


@dataclass(frozen=True, slots=True, kw_only=True)
class PackedModule:
    """One stripped, unsigned module, packed against the object that is linked into it."""

    name: str  # nvidia-uvm
    path: Path  # absolute; zstd
    sha256: str  # of the module itself
    size: int  # bytes, of the module itself
    object_sha256: str | None  # what it is packed against; None: nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class BuiltModules:
    """What the store holds of one compiled cell: enough to pack it for any signer, without its source package."""

    key: str
    unit_id: str
    folder: Path  # absolute; holds the packed modules, build.log, root.log, state.log, installed_pkgs.log
    modules: tuple[PackedModule, ...]  # sorted by name
    seconds: float  # wall, of the compilation


@dataclass(frozen=True, slots=True, kw_only=True)
class JoinRow:
    """One module in the list that a kmod package carries for the host."""

    module: str
    sha256: str  # of the file as installed: module and signature
    signed: bool
    object_path: str | None  # absolute, on the host
    object_sha256: str | None


def signature_tail(signature: bytes) -> bytes:
    """What is appended to a module for a detached DER CMS signature."""
    size = len(signature).to_bytes(4, "big")
    return signature + bytes([0, 0, _PKCS7, 0, 0, 0, 0, 0]) + size + MARKER


def split_signature(image: bytes) -> tuple[bytes, bytes | None]:
    """A module without its signature, and the signature (None where there is none); raises ValueError for half one."""
    if not image.endswith(MARKER):
        return image, None
    end = len(image) - len(MARKER)
    row = image[end - _STRUCT_SIZE : end]
    size = int.from_bytes(row[8:], "big")
    start = end - _STRUCT_SIZE - size
    if len(row) != _STRUCT_SIZE or row[2] != _PKCS7 or any(row[:2] + row[3:8]) or start <= 0:
        raise ValueError("what is appended to it is no PKCS#7 signature")
    return image[:start], image[start : start + size]


def join_list(rows: tuple[JoinRow, ...]) -> str:
    """The list's text: a row a module, five words each, in the order the modules are installed."""
    lines = ["# sha256 signed object-sha256 object module"]
    for row in rows:
        words = (row.sha256, "signed" if row.signed else "unsigned", row.object_sha256 or "-", row.object_path or "-")
        lines.append(" ".join((*words, row.module)))
    return "".join(f"{line}\n" for line in lines)


def read_join_list(text: str) -> tuple[JoinRow, ...]:
    """Read what ``join_list`` wrote; raises ValueError."""
    rows = []
    for line in text.splitlines():
        if line.startswith("#") or not line.strip():
            continue
        sha256, signed, object_sha256, object_path, module = line.split(" ")
        if signed not in ("signed", "unsigned") or len(sha256) != len(hashlib.sha256().hexdigest()):
            raise ValueError(f"{line!r} is no row of a join list")
        rows.append(
            JoinRow(
                module=module,
                sha256=sha256,
                signed=signed == "signed",
                object_path=None if object_path == "-" else object_path,
                object_sha256=None if object_sha256 == "-" else object_sha256,
            )
        )
    return tuple(rows)
