"""The RPMs of a generation: links into the store, and proof that they are those that were signed.

An RPM is read whole once. What it was then (device, inode, size, time of its last change) is kept by its sha256; as
long as that holds, nobody wrote to it since (docs/adr/0029-incremental-publishing.md).
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Mapping
from pathlib import Path

from builder.errors import PublishError, ToolError
from builder.model.cells import Artifact
from builder.store import Derived
from builder.store.files import link_file
from builder.tools.rpms import read_artifact

_READ = "read"  # kind of rows: bytes and NEVRA were looked at


class Unchanged:
    """Files that were looked at, by sha256, and whether they are what they were then."""

    def __init__(self, derived: Derived, kind: str) -> None:
        """``kind`` names what was looked at: files that passed one look did not pass another."""
        self.derived = derived
        self.kind = kind

    def find(self, files: Mapping[str, os.stat_result]) -> dict[str, str]:
        """NEVRA of those, by sha256, that nobody wrote to since they were remembered."""
        found = {}
        for sha256, row in self.derived.get(self.kind, list(files)).items():
            seen, _, nevra = row.decode().partition("\n")
            if seen == _identity(files[sha256]):
                found[sha256] = nevra
        return found

    def remember(self, files: Iterable[tuple[str, os.stat_result, str]]) -> None:
        """(sha256, state, NEVRA) of files that were looked at; the state is that from before the look."""
        self.derived.put(self.kind, {sha256: f"{_identity(was)}\n{nevra}".encode() for sha256, was, nevra in files})

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
        if stat.S_IMODE(state.st_mode) != 0o644:  # whatever the umask: a web server of another user reads it
            os.chmod(target, 0o644)  # noqa: PTH101
    unchanged = Unchanged(derived, _READ)
    known = unchanged.find(states)
    read = []
    for href, artifact in expected.items():
        if artifact.sha256 not in known:
            known[artifact.sha256] = nevra = _read(folder / href, artifact)
            read.append((artifact.sha256, states[artifact.sha256], nevra))
        if known[artifact.sha256] != str(artifact.nevra):
            raise PublishError(f"{artifact.path}: is {known[artifact.sha256]}, was said to be {artifact.nevra}")
        if states[artifact.sha256].st_size != artifact.size:
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
