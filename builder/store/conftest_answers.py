"""What the compiler said of a kernel to NVIDIA's conftest and to Makefiles, kept for the next driver built for it.

specs/nvidia-conftest-cache.sh writes and reads the answers inside a buildroot and knows each by the digest of all that
can change it, so a wrong or missing file costs time and never changes a byte: it is no part of any key.

Layout: ``store/conftest/<devel sha256>.answers``, and ``flags`` beside them for all kernels: what Makefiles ask follows
from the compiler alone. First line the format; then a block for each toolchain (and state of the kernel's headers),
those merged last first: a line ``identity <digest>``, and ``<question> <0|1>`` lines: a digest, or a Makefile's words
as the shim encodes them.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import StoreError
from builder.model.naming import CONFTEST_ANSWERS
from builder.model.sources import SourceFile
from builder.store.files import os_failure, sync_path
from builder.store.store import Store

FORMAT = "repobuild-conftest 1"
_FLAGS = "flags"
_BLOCKS = {True: 16, False: 8}  # toolchains remembered: of all kernels together, and of one
_IDENTITY = re.compile(r"identity (?P<digest>[0-9a-f]{64})")
_ANSWER = re.compile(r'(?P<question>[0-9a-f]{64}|[A-Za-z0-9_.,/+"@-]+@D[A-Z]+") (?P<status>[01])')
_Blocks = dict[str, dict[str, str]]  # by identity: status by question


def answers_source(store: Store, devel_sha256: str, folder: Path) -> SourceFile:
    """Write what is known of the kernel with that devel package into ``folder``, as a source for its next build.

    An empty file when nothing is known: the spec names it either way.
    """
    lines: list[bytes] = []
    for place in (_place(store, _FLAGS), _place(store, f"{devel_sha256}.answers")):
        with suppress(FileNotFoundError):
            lines += place.read_bytes().splitlines(keepends=True)[1 if lines else 0 :]
    return write_answers(folder, b"".join(lines))


def write_answers(folder: Path, data: bytes) -> SourceFile:
    """Answers as a source of a build; none (``b""``) let it ask everything itself. Raises DiskFullError."""
    path = folder / CONFTEST_ANSWERS
    try:
        path.write_bytes(data)
    except OSError as exc:
        raise os_failure(exc, path) from exc
    return SourceFile(filename=path.name, path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


def merge_answers(store: Store, devel_sha256: str, data: bytes) -> int:
    """Add the answers that a build used to those of its kernel and its compiler; returns how many were new.

    Whole or not at all, whatever else merges or reads at the time. A question with two answers is forgotten. Raises
    StoreError for what the shim did not write, DiskFullError.
    """
    new = _parse(data, "the answers that the build left")
    total = 0
    for name, of_flags in ((_FLAGS, True), (f"{devel_sha256}.answers", False)):
        some = {identity: answers for identity, answers in new.items() if _are_flags(answers) is of_flags}
        place = _place(store, name)
        try:
            place.parent.mkdir(exist_ok=True)
            with _locked(place.parent):
                old = _read(place)
                merged, added = _merge(old, some, _BLOCKS[of_flags])
                if list(merged.items()) != list(old.items()):  # the order counts, too
                    _write(store, place, merged)
        except OSError as exc:
            raise os_failure(exc, place) from exc
        total += added
    return total


def _place(store: Store, name: str) -> Path:
    return store.work / "store/conftest" / name


def _are_flags(answers: Mapping[str, str]) -> bool:
    """Did Makefiles ask this? Their questions are words, conftest's are digests."""
    return any("@" in question for question in answers)


def _merge(old: Mapping[str, Mapping[str, str]], new: _Blocks, kept: int) -> tuple[_Blocks, int]:
    merged: _Blocks = {}
    added = 0
    for identity, answers in new.items():
        known = dict(old.get(identity, {}))
        contradicted = {q for q, status in answers.items() if known.get(q, status) != status}
        added += len(answers.keys() - known.keys())
        merged[identity] = {q: s for q, s in (known | answers).items() if q not in contradicted}
    merged |= {identity: dict(known) for identity, known in old.items() if identity not in merged}
    return dict(list(merged.items())[:kept]), added


def _read(place: Path) -> _Blocks:
    """What was merged before; nothing when it is not what this program writes, as it can be asked again."""
    try:
        return _parse(place.read_bytes(), str(place))
    except (FileNotFoundError, StoreError):
        return {}


def _parse(data: bytes, where: str) -> _Blocks:
    lines = data.decode("ascii", errors="replace").splitlines()
    if not lines or lines[0] != FORMAT:
        raise StoreError(f"{where}: not of the format '{FORMAT}'")
    blocks: _Blocks = {}
    answers: dict[str, str] | None = None
    contradicted: set[tuple[str, str]] = set()
    identity = ""
    for number, line in enumerate(lines[1:], start=2):
        if match := _IDENTITY.fullmatch(line):
            identity = match["digest"]
            answers = blocks.setdefault(identity, {})
        elif answers is not None and (match := _ANSWER.fullmatch(line)):
            if answers.setdefault(match["question"], match["status"]) != match["status"]:
                contradicted.add((identity, match["question"]))
        else:
            raise StoreError(f"{where}:{number}: no answer of conftest: {line[:80]!r}")
    for block, question in contradicted:
        del blocks[block][question]
    return blocks


def _write(store: Store, place: Path, blocks: _Blocks) -> None:
    lines = [FORMAT]
    for identity, answers in blocks.items():
        lines += [f"identity {identity}", *(f"{question} {status}" for question, status in sorted(answers.items()))]
    with store.tmp() as tmp:
        file = tmp / place.name
        file.write_text("\n".join(lines) + "\n")
        sync_path(file)
        file.replace(place)
        sync_path(place.parent)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Only one thread or process merges at a time; readers need no lock, a file is replaced whole."""
    fd = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        yield
    finally:
        os.close(fd)
