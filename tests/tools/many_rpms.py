"""Thousands of real RPMs within seconds: one is built by rpmbuild, the others are it under names of their own.

A template's name holds five letters where the number comes. They stand in header and payload, which is not
compressed; so a number can be written over them, and the digests over payload and header are made anew. What comes out
has its own NEVRA, Provides and files, and rpm finds every digest right.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterable
from pathlib import Path

from builder.tools.rpmbuild import defines, reproducible_macros
from builder.tools.run import run

EPOCH = 1_700_000_000
MARK = "NNNNN"  # what a number of five digits replaces
_LEAD = 96  # bytes, then two headers of 16 bytes, 16 for each index entry, and the data


def make_template(folder: Path, *, name: str = "bench-", files: int = 12, requires: Iterable[str] = ()) -> Path:
    """One RPM ``<name>NNNNN-1.0-1.x86_64``, with a changelog and that many files."""
    folder.mkdir(parents=True, exist_ok=True)
    package, place = f"{name}{MARK}", f"/opt/bench/{name}{MARK}"
    lines = [f"Name: {package}", "Version: 1.0", "Release: 1", f"Summary: Benchmark {MARK}", "License: MIT"]
    lines += ["AutoReqProv: no", f"Provides: tool({package}) = 1.0", *(f"Requires: {text}" for text in requires)]
    lines += ["%description", f"Benchmark {MARK}.", "%install", f"mkdir -p %{{buildroot}}{place}"]
    lines += [f"for n in $(seq {files}); do echo $n > %{{buildroot}}{place}/$n; done", "%files", place]
    lines += ["%changelog", "* Sat Nov 11 2023 Test <test@example.invalid> - 1.0-1", "- Made"]
    spec = folder / "template.spec"
    spec.write_text("\n".join(lines) + "\n")
    macros = {**reproducible_macros(), "_topdir": str(folder / "top"), "_binary_payload": "w.ufdio"}
    macros |= {"debug_package": "%{nil}", "_build_id_links": "none", "__os_install_post": "%{nil}"}
    run(
        ["rpmbuild", "-bb", *defines(macros), "--target", "x86_64", spec],
        timeout=120,
        env={"SOURCE_DATE_EPOCH": str(EPOCH), "HOME": str(folder)},
    )
    return folder / f"top/RPMS/x86_64/{package}-1.0-1.x86_64.rpm"


def make_many(template: Path, folder: Path, numbers: Iterable[int]) -> list[Path]:
    """The template once for each number, in their order."""
    folder.mkdir(parents=True, exist_ok=True)
    data = template.read_bytes()
    made = []
    for number in numbers:
        path = folder / template.name.replace(MARK, f"{number:05}")
        path.write_bytes(renamed(data, MARK, f"{number:05}"))
        made.append(path)
    return made


def renamed(rpm: bytes, old: str, new: str) -> bytes:
    """An RPM with another text of the same length for ``old``, in its header and a payload that is not compressed."""
    if len(old) != len(new):
        raise ValueError(f"{new!r} is not as long as {old!r}")
    was, now = old.encode(), new.encode()
    start = _LEAD + _header_size(rpm, _LEAD)
    start += -start % 8
    end = start + _header_size(rpm, start)
    lead, signature, header, payload = rpm[:_LEAD], rpm[_LEAD:start], rpm[start:end], rpm[end:]
    new_payload = payload.replace(was, now)
    new_header = _redigest(header.replace(was, now), payload, new_payload, ("sha256",))
    new_signature = _redigest(signature, header, new_header, ("sha256", "sha1"))
    md5 = hashlib.md5(header + payload).digest()
    new_signature = new_signature.replace(md5, hashlib.md5(new_header + new_payload).digest())
    return lead.replace(was, now) + new_signature + new_header + new_payload


def _header_size(data: bytes, start: int) -> int:
    entries, size = struct.unpack_from(">II", data, start + 8)
    return 16 + 16 * int(entries) + int(size)


def _redigest(data: bytes, old: bytes, new: bytes, kinds: Iterable[str]) -> bytes:
    """``data`` with the digests in hex of ``old`` made those of ``new``."""
    for kind in kinds:
        was, now = (hashlib.new(kind, content).hexdigest().encode() for content in (old, new))
        if was not in data:
            raise ValueError(f"no {kind} of the template in its header")
        data = data.replace(was, now)
    return data
