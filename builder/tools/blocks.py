"""Many texts as one gzip file, compressed in blocks that are kept: where few texts changed, few are compressed again.

A block is some texts that follow each other. Where it ends is decided by the keys of its texts alone, so that a text
that comes or goes changes the block it is in (and at most the one after), not those behind it. Each is deflated from an
empty window and ends at a full byte (zlib's Z_FULL_FLUSH); joined they are one deflate stream in one gzip member, which
every reader of gzip reads. What was kept and what is made anew is the same: only the content decides.
"""

from __future__ import annotations

import hashlib
import struct
import zlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from dataclasses import dataclass
from pathlib import Path

from builder.store import Derived

TEXTS = 64  # in a block, in the mean; smaller ones compress worse
_LEVEL = 6  # as createrepo_c
_HEADER = b"\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\xff"  # deflate, no name, no time, any system (RFC 1952)
MAKER = f"zlib {zlib.ZLIB_RUNTIME_VERSION}"  # others may compress the same to other bytes


def blocks_of(keys: Sequence[str]) -> dict[str, Sequence[str]]:
    """Keys in blocks, each by a name that follows from its keys."""
    return {hashlib.sha256("\n".join(block).encode()).hexdigest(): block for block in _blocks(keys)}


@dataclass(frozen=True, slots=True, kw_only=True)
class WrittenBlocks:
    """A gzip file that was written: what metadata say of it."""

    sha256: str
    size: int  # bytes
    open_sha256: str  # of the uncompressed bytes
    open_size: int


def write_blocks(
    path: Path,
    kind: str,
    blocks: Mapping[str, Sequence[str]],
    texts: Callable[[Sequence[str]], Mapping[str, bytes]],
    ends: tuple[bytes, bytes],
    derived: Derived,
    beside: Executor,
) -> Future[WrittenBlocks]:
    """Write the texts of the keys in these blocks (``blocks_of``) in their order, between two ends, into a .gz file.

    A key stands for one text of its ``kind`` for ever. ``texts`` is asked for those of blocks that are not kept. The
    file is there when what is returned, which is done ``beside``, has a result.
    """
    kept = derived.get(f"{kind} {MAKER}", list(blocks))
    absent = [key for name, block in blocks.items() if name not in kept for key in block]
    fresh = texts(absent) if absent else {}
    made = {
        name: _deflated(b"".join(fresh[key] for key in block)) for name, block in blocks.items() if name not in kept
    }
    derived.put(f"{kind} {MAKER}", made)
    parts = [_deflated(ends[0]), *(kept.get(name) or made[name] for name in blocks), _last(ends[1])]
    return beside.submit(_write, path, parts)


def _write(path: Path, parts: Sequence[bytes]) -> WrittenBlocks:
    """Join deflated parts; zlib and hashlib let other threads go on meanwhile."""
    checksum = size = 0
    opened, whole = hashlib.sha256(), hashlib.sha256()
    with path.open("wb") as file:

        def write(data: bytes) -> None:
            file.write(data)
            whole.update(data)

        write(_HEADER)
        for part in parts:
            write(part)
            text = zlib.decompressobj(-zlib.MAX_WBITS).decompress(part)
            opened.update(text)
            checksum = zlib.crc32(text, checksum)
            size += len(text)
        write(struct.pack("<II", checksum, size & 0xFFFFFFFF))
        length = file.tell()
    return WrittenBlocks(sha256=whole.hexdigest(), size=length, open_sha256=opened.hexdigest(), open_size=size)


def _blocks(keys: Sequence[str]) -> Iterator[Sequence[str]]:
    start = 0
    for place, key in enumerate(keys, start=1):
        if zlib.crc32(key.encode()) % TEXTS == 0 or place == len(keys):
            yield keys[start:place]
            start = place


def _deflated(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FULL_FLUSH)


def _last(text: bytes) -> bytes:
    packer = zlib.compressobj(_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    return packer.compress(text) + packer.flush(zlib.Z_FINISH)
