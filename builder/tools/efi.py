"""EFI: who signed a PE image (a kernel), and a variable store in which Secure Boot trusts given certificates.

Variables are written by virt-fw-vars of virt-firmware (extra ``repobuild[qualify]``), run as a program: its licence is
GPL-2.0, nothing of it is imported here. PE and Authenticode: Microsoft's "PE Format", Attribute Certificate Table.
"""

from __future__ import annotations

import importlib.util
import struct
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.errors import ToolMissingError
from builder.tools.run import run

_TIMEOUT = 60.0  # seconds
_OWNER = "3b6d2f0a-5c57-4d0f-9a43-6a1c3a0d6e55"  # any GUID: signature owners are told apart by nobody here
_PKCS7 = 2  # WIN_CERT_TYPE_PKCS_SIGNED_DATA
_DIRECTORY = 4  # of the attribute certificates


def image_signers(data: bytes) -> tuple[bytes, ...]:
    """The certificates (DER) in a PE image's signatures; empty for an unsigned image. Raises ValueError for no PE."""
    try:
        (pe,) = struct.unpack_from("<I", data, 0x3C)
        (magic,) = struct.unpack_from("<H", data, pe + 24)
        if data[:2] != b"MZ" or data[pe : pe + 4] != b"PE\0\0" or magic not in {0x10B, 0x20B}:
            raise ValueError("it is no PE image")
        directories = pe + 24 + (112 if magic == 0x20B else 96)
        offset, size = struct.unpack_from("<II", data, directories + 8 * _DIRECTORY)
        found: list[bytes] = []
        end = offset + size
        while offset + 8 < end:
            length, _revision, kind = struct.unpack_from("<IHH", data, offset)
            if kind == _PKCS7:
                found += _certificates(_one_der(data[offset + 8 : offset + length]))
            offset += max(8, length + -length % 8)
    except struct.error as exc:
        raise ValueError(f"its PE tables are damaged: {exc}") from exc
    return tuple(dict.fromkeys(found))


def _certificates(signature: bytes) -> list[bytes]:
    """DER of those in a PKCS #7 message."""
    # Which only runs that boot modules under Secure Boot should wait for.
    from cryptography.hazmat.primitives.serialization import Encoding, pkcs7  # noqa: PLC0415

    return [found.public_bytes(Encoding.DER) for found in pkcs7.load_der_pkcs7_certificates(signature)]


def _one_der(data: bytes) -> bytes:
    """The first DER value without the padding behind it."""
    if len(data) > 1 and data[1] & 0x80:
        count = data[1] & 0x7F
        return data[: 2 + count + int.from_bytes(data[2 : 2 + count], "big")]
    return data[: 2 + data[1]] if len(data) > 1 else data


def enroll(variables: Path, platform: bytes, trusted: Sequence[bytes], folder: Path) -> None:
    """Turn Secure Boot on in a store of variables: ``platform`` owns it, only ``trusted`` (DER) are in db.

    ``folder`` gets the certificates' files. Raises ToolMissingError without virt-firmware, ToolError in its words.
    """
    if importlib.util.find_spec("virt") is None or importlib.util.find_spec("virt.firmware") is None:
        raise ToolMissingError("virt-firmware is not installed", hint="pip install 'repobuild[qualify]'")
    owner = folder / "platform.der"
    owner.write_bytes(platform)
    argv: list[str | Path] = [sys.executable, "-I", "-m", "virt.firmware.vars", "--inplace", variables]
    argv += ["--set-pk", _OWNER, owner, "--add-kek", _OWNER, owner]
    for number, certificate in enumerate(dict.fromkeys(trusted), start=1):
        file = folder / f"db-{number}.der"
        file.write_bytes(certificate)
        argv += ["--add-db", _OWNER, file]
    run([*argv, "--secure-boot"], timeout=_TIMEOUT)
