"""Files that were looked at once and that nobody wrote to since (docs/adr/0029-incremental-publishing.md).

An RPM is read whole once. What it was then (device, inode, size, time of its last change) is kept by its sha256; as
long as that holds, its bytes are what they were.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence

from builder.store import Derived
from builder.tools.blocks import blocks_of


class Unchanged:
    """Files that were looked at, by sha256, and whether they are what they were then."""

    def __init__(self, derived: Derived, kind: str) -> None:
        """``kind`` names what was looked at: files that passed one look did not pass another."""
        self.derived = derived
        self.kind = kind

    def find(self, files: Mapping[str, os.stat_result]) -> dict[str, str]:
        """NEVRA of those, by sha256, that nobody wrote to since they were remembered.

        Rows of files that follow each other are kept together, too: one question for many.
        """
        blocks = blocks_of(list(files))
        together = self.derived.get(f"{self.kind} blocks", list(blocks))
        fresh: dict[str, list[str]] = {}
        found: dict[str, str] = {}
        for name, keys in blocks.items():
            rows = together[name].decode().split("\0") if name in together else []
            known = self._same(files, dict(zip(keys, rows, strict=False)))
            if len(known) < len(keys):
                each = {key: row.decode() for key, row in self.derived.get(self.kind, keys).items()}
                known = self._same(files, each)
                if len(known) == len(keys):
                    fresh[name] = [each[key] for key in keys]
            found |= known
        self._keep_blocks(fresh)
        return found

    def _same(self, files: Mapping[str, os.stat_result], rows: Mapping[str, str]) -> dict[str, str]:
        found = {}
        for sha256, row in rows.items():
            seen, _, nevra = row.partition("\n")
            if seen == _identity(files[sha256]):
                found[sha256] = nevra
        return found

    def remember(self, files: Iterable[tuple[str, os.stat_result, str]]) -> None:
        """(sha256, state, NEVRA) of files that were looked at; the state is that from before the look."""
        rows = {sha256: f"{_identity(was)}\n{nevra}" for sha256, was, nevra in files}
        self.derived.put(self.kind, {sha256: row.encode() for sha256, row in rows.items()})
        self._keep_blocks({name: [rows[key] for key in keys] for name, keys in blocks_of(list(rows)).items()})

    def _keep_blocks(self, blocks: Mapping[str, Sequence[str]]) -> None:
        self.derived.put(f"{self.kind} blocks", {name: "\0".join(rows).encode() for name, rows in blocks.items()})

    def turn(self, turns: int) -> int:
        """A number below ``turns`` that is another each time, until all were there."""
        last = self.derived.get("turn", [self.kind]).get(self.kind, b"0")
        self.derived.put("turn", {self.kind: b"%d" % ((int(last) + 1) % turns)})
        return int(last)


def _identity(state: os.stat_result) -> str:
    return f"{state.st_dev} {state.st_ino} {state.st_size} {state.st_mtime_ns}"
