"""Write the signed manifest of a generation, each with a number that was never used before (ADR 0026)."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from builder.errors import PublishError
from builder.publish.generations import Generation, Repository
from builder.publish.in_flight import FORMER, former_files
from builder.publish.manifest import (
    MANIFEST,
    ManifestHead,
    Terms,
    at,
    is_of_manifest,
    make_manifest,
    signature_name,
)
from builder.publish.pool import is_shared, pool_of
from builder.publish.record import RECORD, read_record
from builder.store.files import sync_path, write_atomic
from builder.tools.rpms import file_sha256

Sign = Callable[[Path], bytes]
RENEW = 2  # a manifest is renewed when less than this part (1/2) of its lifetime is left


def is_due(repository: Repository, distribution: str, arch: str, digest: str, key: str, terms: Terms) -> bool:
    """Whether a generation that is to be current needs a (new) manifest: it has none of this key, its number is not the
    newest, less than half of its lifetime is left, or a shorter lifetime is wanted.
    """
    manifest = _head(repository.place(digest))
    if manifest is None or manifest.key != key or manifest.sequence != _last(repository, distribution, arch):
        return True
    left = at(manifest.expires) - terms.now
    return left * RENEW < terms.lifetime or left > terms.lifetime or manifest.sequence < terms.sequence


def renew(
    repository: Repository,
    distribution: str,
    arch: str,
    digest: str,
    *,
    key: str,
    sign: Sign,
    terms: Terms,
    sizes: Mapping[str, int] | None = None,
) -> bool:
    """``issue`` where that ``is_due``; True where it was."""
    due = is_due(repository, distribution, arch, digest, key, terms)
    if due:
        issue(repository, distribution, arch, digest, key=key, sign=sign, terms=terms, sizes=sizes)
    return due


def issue(
    repository: Repository,
    distribution: str,
    arch: str,
    digest: str,
    *,
    key: str,
    sign: Sign,
    terms: Terms,
    sizes: Mapping[str, int] | None = None,
) -> None:
    """Give a generation on disk a manifest with the next number; call while ``writing``.

    The number is spent before it is used, so that a killed run leaves a gap and never a second use. The signature comes
    first; then one rename makes the manifest the generation's. That of the manifest before stays for readers who have
    just fetched it; older ones go. ``sizes`` (bytes, by place) are believed: those of signed files, as the
    known digests are.

    Raises PublishError when the generation's record is damaged, and what ``sign`` raises.
    """
    folder = repository.place(digest)
    record = _record(folder)
    known = {**former_files(folder), **{str(row["file"]): str(row["sha256"]) for row in record["packages"]}}
    number = max(_last(repository, distribution, arch) + 1, terms.sequence)
    data = make_manifest(
        module=str(record["module"]),
        distribution=distribution,
        arch=arch,
        publication=digest,
        key=key,
        sequence=number,
        terms=terms,
        files=listed_files(folder, known, sizes or {}),
    )
    write_atomic(_counter(repository, distribution, arch), f"{number}\n".encode())
    former = (folder / MANIFEST).read_bytes() if (folder / MANIFEST).is_file() else None
    fresh = repository.generations / f".{digest}.manifest"
    try:
        fresh.write_bytes(data)
        write_atomic(folder / signature_name(data), sign(fresh))
    finally:
        fresh.unlink(missing_ok=True)
    write_atomic(folder / MANIFEST, data)
    kept = {signature_name(data), *([signature_name(former)] if former is not None else [])}
    for path in folder.glob(f"{Path(MANIFEST).stem}.*.asc"):
        if path.name not in kept:
            path.unlink()
    for path in folder.glob(f".{Path(MANIFEST).stem}*.new"):  # of a run that was killed while it wrote one
        path.unlink()
    sync_path(folder)


def is_newest(repository: Repository, generation: Generation) -> bool:
    """Whether the manifest of a generation has the highest number that was given; False where it has none."""
    manifest = _head(generation.path)
    return manifest is not None and manifest.sequence == _last(repository, generation.distribution, generation.arch)


def lifetime_of(generation: Generation) -> int:
    """Seconds that the manifest of a generation was given; raises PublishError where it has none."""
    manifest = _head(generation.path)
    if manifest is None:
        raise PublishError(f"{generation.path}: has no manifest", hint="repobuild publish gives it one")
    return at(manifest.expires) - at(manifest.issued)


def issue_part(
    repository: Repository, of: Generation, folder: Path, digest: str, *, key: str, sign: Sign, terms: Terms
) -> None:
    """Give a folder that holds some streams and kernels of a generation a manifest of its own, which says of which;
    its number is one of the same sequence. Call while ``writing``; raises what ``issue`` raises.
    """
    record = read_record(folder)
    number = max(_last(repository, of.distribution, of.arch) + 1, terms.sequence)
    known = {str(row["file"]): str(row["sha256"]) for row in record["packages"]}
    data = make_manifest(
        module=str(record["module"]),
        distribution=of.distribution,
        arch=of.arch,
        publication=digest,
        part_of=of.digest,
        key=key,
        sequence=number,
        terms=terms,
        files=listed_files(folder, known, {}),
    )
    write_atomic(_counter(repository, of.distribution, of.arch), f"{number}\n".encode())
    (folder / MANIFEST).write_bytes(data)
    (folder / signature_name(data)).write_bytes(sign(folder / MANIFEST))


def listed_files(folder: Path, known: Mapping[str, str], sizes: Mapping[str, int]) -> Iterator[tuple[str, str, int]]:
    """Path, sha256 and size of every file of a generation; ``known`` digests and ``sizes`` are believed. Of a pool
    those RPMs are its own that are ``known``.
    """
    for name, entry in files_below(folder):
        size = sizes.get(name)
        yield name, known.get(name) or file_sha256(Path(entry.path)), entry.stat().st_size if size is None else size
    if pool_of(folder) is not None:
        for name, sha256 in known.items():
            if is_shared(name):
                size = sizes.get(name)
                if size is not None:
                    yield name, sha256, size
                elif (folder / name).is_file():
                    yield name, sha256, (folder / name).stat().st_size


def files_below(folder: Path) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """The files in a folder that a manifest lists, or should, by their place; what lies in a pool is not in it."""
    for name, entry in _walk(f"{folder}/", ""):
        if name != FORMER and not is_of_manifest(name):
            yield name, entry


def _walk(top: str, below: str) -> Iterator[tuple[str, os.DirEntry[str]]]:
    """Files by name, those of folders after them; no Path is made of any: they are ten thousand."""
    with os.scandir(top + below) as found:
        entries = sorted(found, key=lambda entry: entry.name)
    folders = []
    for entry in entries:
        if not entry.is_dir():
            yield below + entry.name, entry
        elif not entry.is_symlink():
            folders.append(f"{below}{entry.name}/")
    for name in folders:
        yield from _walk(top, name)


def _record(folder: Path) -> dict[str, Any]:
    """publication.json, whose digest is the folder's name."""
    try:
        data = (folder / RECORD).read_bytes()
        document = read_record(folder)
    except (OSError, ValueError) as exc:
        raise PublishError(f"{folder / RECORD}: damaged: {exc}", hint="move this generation away") from exc
    if hashlib.sha256(data).hexdigest() != folder.name:
        raise PublishError(f"{folder / RECORD}: is not that of generation {folder.name}")
    return document


def _head(folder: Path) -> ManifestHead | None:
    """What a generation's manifest says but for its files; None where there is none that can be used."""
    try:
        data = (folder / MANIFEST).read_bytes()
        return ManifestHead.model_validate_json(data) if (folder / signature_name(data)).is_file() else None
    except (OSError, ValueError):
        return None


def _counter(repository: Repository, distribution: str, arch: str) -> Path:
    return repository.generations / f".sequence-{distribution}-{arch}"


def _last(repository: Repository, distribution: str, arch: str) -> int:
    """The highest number that was ever given; 0 when none was.

    The current manifest counts, too: a counter restored from an old copy does not give its number twice. Where the
    counter is lost all manifests on disk do.
    """
    counter = _counter(repository, distribution, arch)
    current = repository.current(distribution, arch)
    places = [repository.place(current)] if current is not None else []
    try:
        numbers = [int(counter.read_text())]
    except FileNotFoundError:
        numbers, places = [0], list(repository.folders())
    except ValueError as exc:
        raise PublishError(
            f"{counter}: damaged: not a number", hint="write the highest number into it that clients have seen"
        ) from exc
    for manifest in map(_head, places):
        if manifest is not None and (manifest.distribution, manifest.arch) == (distribution, arch):
            numbers.append(manifest.sequence)
    return max(numbers)
