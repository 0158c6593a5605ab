"""One file that carries a publication to where no network is: its manifest, the manifest's signature, then the files.

A tar file; its members are ``manifest.json``, ``manifest.json.asc`` and ``files/<sha256>``, each content once. The
manifest names every file of the generation with size and sha256; a bundle made ``since`` an earlier one leaves out what
that one named. docs/targets.md tells the format.
"""

from __future__ import annotations

import io
import json
import re
import tarfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import BundleError
from builder.publish.tree_files import own_files
from builder.publish.trees import STREAMS
from builder.store.files import sync_path
from builder.tools.gpg import detached_fault
from builder.tools.rpms import file_sha256

FORMAT = 1
MANIFEST, SIGNATURE, FILES = "manifest.json", "manifest.json.asc", "files"
_LARGEST = 256 << 20  # bytes of a manifest: two million files
_DIGEST = re.compile(r"[0-9a-f]{64}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^-]*")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundledFile:
    """One file of the generation."""

    path: str  # inside the generation
    size: int  # bytes
    sha256: str
    here: bool  # False: an earlier bundle has it


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a bundle says of itself, under its signature."""

    distribution: str
    arch: str
    digest: str  # of the generation
    since: str | None  # sha256 of the manifest of the earlier bundle
    trees: tuple[str, ...]  # streams that are trees with a link to the pool
    files: tuple[BundledFile, ...]  # by path

    def write(self) -> bytes:
        """As JSON."""
        document = {
            "format": FORMAT,
            "distribution": self.distribution,
            "arch": self.arch,
            "digest": self.digest,
            "since": self.since,
            "trees": list(self.trees),
            "files": [{"path": f.path, "size": f.size, "sha256": f.sha256, "here": f.here} for f in self.files],
        }
        return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def read_manifest(data: bytes) -> Manifest:
    """Raises ValueError for one that is not ours, or whose paths lead anywhere else."""
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"of version {document['format']}, this repobuild knows {FORMAT}")
        manifest = Manifest(
            distribution=str(document["distribution"]),
            arch=str(document["arch"]),
            digest=str(document["digest"]),
            since=None if document["since"] is None else str(document["since"]),
            trees=tuple(str(name) for name in document["trees"]),
            files=tuple(_file(row) for row in document["files"]),
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"not a manifest of a bundle: {exc!r}") from exc
    for name in (manifest.distribution, manifest.arch, *manifest.trees):
        if not _NAME.fullmatch(name):
            raise ValueError(f"{name!r} is no name")
    if not _DIGEST.fullmatch(manifest.digest):
        raise ValueError(f"{manifest.digest!r} is no digest")
    if len({file.path for file in manifest.files}) != len(manifest.files):
        raise ValueError("names a file twice")
    return manifest


def _file(row: Mapping[str, Any]) -> BundledFile:
    path, sha256 = str(row["path"]), str(row["sha256"])
    if not all(_NAME.fullmatch(part) for part in path.split("/")) or not _DIGEST.fullmatch(sha256):
        raise ValueError(f"{path!r} is no file of a publication")
    return BundledFile(path=path, size=int(row["size"]), sha256=sha256, here=row["here"] is True)


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """A bundle's members; whatever is wrong with the file as such becomes BundleError."""
    try:
        with tarfile.open(path, "r:") as tar:
            yield tar
    except (tarfile.TarError, EOFError) as exc:
        raise BundleError(f"{path}: damaged, or no bundle: {exc}", hint="copy it again; nothing was placed") from exc
    except FileNotFoundError as exc:
        raise BundleError(f"{path}: is not there") from exc


def trusted_manifest(tar: tarfile.TarFile, path: Path, public_key: bytes, tmp: Path) -> tuple[Manifest, bytes]:
    """The manifest, once its signature is good in the eyes of who trusts this key alone; raises BundleError."""
    for name in (MANIFEST, SIGNATURE):
        member = tar.next()
        if member is None or member.name != name or not member.isfile() or member.size > _LARGEST:
            raise BundleError(f"{path}: damaged, or no bundle: it does not begin with {name}")
        (tmp / name).write_bytes(read_member(tar, member, path))
    fault = detached_fault(public_key, tmp / MANIFEST, tmp / SIGNATURE)
    if fault is not None:
        raise BundleError(f"{path}: its manifest: {fault}", hint="nothing was placed; ask who made it for it again")
    data = (tmp / MANIFEST).read_bytes()
    try:
        return read_manifest(data), data
    except ValueError as exc:
        raise BundleError(f"{path}: its manifest: {exc}") from exc


def read_member(tar: tarfile.TarFile, member: tarfile.TarInfo, path: Path) -> bytes:
    """All bytes of a small member."""
    file = tar.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise BundleError(f"{path}: ends in the middle of {member.name}", hint="copy it again; nothing was placed")
    return data


def write_bundle(
    folder: Path,
    output: Path,
    *,
    distribution: str,
    arch: str,
    digest: str,
    sign: Callable[[bytes], bytes],
    since: tuple[Manifest, str] | None = None,
) -> Manifest:
    """Write a generation's folder to one file, by one rename; equal content gives equal bytes but for the signature.

    ``since`` is an earlier bundle's manifest with its sha256.
    """
    known = {file.sha256 for file in since[0].files} if since else set()
    sources = dict(own_files(folder))
    files = []
    for path, source in sorted(sources.items()):
        sha256 = file_sha256(source)
        files.append(BundledFile(path=path, size=source.stat().st_size, sha256=sha256, here=sha256 not in known))
    manifest = Manifest(
        distribution=distribution,
        arch=arch,
        digest=digest,
        since=since[1] if since else None,
        trees=tuple(sorted(link.parent.name for link in folder.glob(f"{STREAMS}/*/Packages") if link.is_symlink())),
        files=tuple(files),
    )
    data = manifest.write()
    fresh = output.parent / f".{output.name}.new"
    try:
        with tarfile.open(fresh, "w", format=tarfile.GNU_FORMAT) as tar:
            for name, content in ((MANIFEST, data), (SIGNATURE, sign(data))):
                tar.addfile(_member(name, len(content)), io.BytesIO(content))
            done: set[str] = set()
            for file in files:
                if file.here and file.sha256 not in done:
                    done.add(file.sha256)
                    with sources[file.path].open("rb") as stream:
                        tar.addfile(_member(f"{FILES}/{file.sha256}", file.size), stream)
        sync_path(fresh)
        fresh.replace(output)
        sync_path(output.absolute().parent)
    finally:
        fresh.unlink(missing_ok=True)
    return manifest


def _member(name: str, size: int) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.size, member.mode = size, 0o644
    return member
