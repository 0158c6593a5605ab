"""The RPMs of a generation: links into the store, and proof that they are those that were signed.

An RPM is read whole once. What it was then (device, inode, size, time of its last change) is kept by its sha256; as
long as that holds, nobody wrote to it since (docs/adr/0029-incremental-publishing.md).
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from builder.errors import PublishError, ToolError
from builder.model.cells import Artifact
from builder.store import Derived
from builder.store.files import link_file
from builder.tools.blocks import blocks_of
from builder.tools.rpms import read_artifact

_READ = "read"  # kind of rows: bytes and NEVRA were looked at


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


def fill_pool(folder: Path, expected: Mapping[str, Artifact], derived: Derived) -> list[Path]:
    """Link the RPMs to their places (keys) below a folder, readable for all; returns those that had to be copied.

    Raises PublishError for one that is not there, or has not the bytes and the NEVRA that it is said to have.
    """
    copied = []
    states: dict[str, os.stat_result] = {}
    for href, artifact in expected.items():
        target = f"{folder}/{href}"  # no Path: they are ten thousand
        try:
            if not link_file(artifact.path, target):
                copied.append(Path(target))
        except FileNotFoundError as exc:
            raise PublishError(f"{artifact.nevra}: {artifact.path} is not there") from exc
        states[artifact.sha256] = state = os.stat(target)  # noqa: PTH116
        if state.st_mode & 0o7777 != 0o644:  # whatever the umask: a web server of another user reads it
            os.chmod(target, 0o644)  # noqa: PTH101
    unchanged = Unchanged(derived, _READ)
    known = unchanged.find(states)
    read = []
    for href, artifact in expected.items():
        sha256, nevra = artifact.sha256, str(artifact.nevra)
        if sha256 not in known:
            known[sha256] = _read(folder / href, artifact)
            read.append((sha256, states[sha256], known[sha256]))
        if known[sha256] != nevra:
            raise PublishError(f"{artifact.path}: is {known[sha256]}, was said to be {nevra}")
        if states[sha256].st_size != artifact.size:
            raise PublishError(f"{artifact.path}: its bytes are not those that were signed")
    unchanged.remember(read)
    return copied


def _read(path: Path, artifact: Artifact) -> str:
    try:
        found = read_artifact(path)
    except ToolError as exc:
        raise PublishError(f"{artifact.path}: {exc.message}") from exc
    if found.sha256 != artifact.sha256:
        raise PublishError(f"{artifact.path}: its bytes are not those that were signed")
    return str(found.nevra)
