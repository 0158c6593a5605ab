"""What NVIDIA publishes of a driver as an archive beside its .run: fabric manager, NSCQ, IMEX.

Layout: ``<name>-<platform>-<driver version>-archive/`` on top, below it bin/, lib/, etc/ … and LICENSE (NVIDIA's redist
folders). Only the list of members is read here; the archive itself goes into the source package as it came.
"""

from __future__ import annotations

import hashlib
import json
import lzma
import posixpath
import tarfile
from dataclasses import asdict
from pathlib import Path

from builder.errors import SourceError
from builder.model.matrix import Driver, Source
from builder.model.sources import ArchiveMember, DriverArchive, SourceFile
from builder.store import Store

_FORMAT = 1  # of what is stored
_INDEX = "archive.json"
_TOP_SUFFIX = "-archive"


def find_archive(driver: Driver, source: Source, sha256: str, store: Store) -> DriverArchive | None:
    """What ``read_archive`` made of that archive before, None when it did not, or it is of another driver."""
    folder = store.folder("prepared", _key(sha256))
    found = None if folder is None else _load(source, sha256, folder, store)
    return found if found is not None and _is_of(found, driver) else None


def read_archive(driver: Driver, source: Source, path: Path, sha256: str, store: Store) -> DriverArchive:
    """The members of a fetched archive, from the store when it was read before.

    Raises SourceError for a file that is no such archive, is damaged, of another version than the driver's, or holds
    anything but files, folders and symlinks inside itself; then nothing is kept.
    """
    where = f"{source.filename} (r{driver.branch}, {driver.version})"

    def fill(folder: Path) -> None:
        top, members = _members(path, where)
        document = {"top": top, "members": [asdict(member) for member in members]}
        (folder / _INDEX).write_text(json.dumps(document, indent=1, sort_keys=True))

    found = _load(source, sha256, store.put_folder("prepared", _key(sha256), fill), store)
    if not _is_of(found, driver):
        raise SourceError(
            f"{where}: another version is inside: {found.top}",
            hint="correct the source's url in matrix.yaml: its version must be the driver's",
        )
    return found


def _is_of(archive: DriverArchive, driver: Driver) -> bool:
    return archive.top.endswith(f"-{driver.version}{_TOP_SUFFIX}")


def _key(sha256: str) -> str:
    return hashlib.sha256(f"archive {_FORMAT} {sha256}".encode()).hexdigest()


def _load(source: Source, sha256: str, folder: Path, store: Store) -> DriverArchive:
    document = json.loads((folder / _INDEX).read_text())
    path = store.source_path(sha256, source.filename)
    size = path.stat().st_size if path.is_file() else 0
    return DriverArchive(
        kind=source.kind,
        file=SourceFile(filename=source.filename, path=path, sha256=sha256, size=size),
        top=document["top"],
        members=tuple(ArchiveMember(**member) for member in document["members"]),
    )


def _members(path: Path, where: str) -> tuple[str, tuple[ArchiveMember, ...]]:
    """The one folder on top, and every file and symlink below it, sorted by path."""
    members: dict[str, ArchiveMember] = {}
    tops: set[str] = set()
    try:
        with tarfile.open(path, "r:*") as archive:
            for entry in archive:
                top, _, inside = posixpath.normpath(entry.name).partition("/")
                tops.add(top)
                if entry.isdir():
                    continue
                members[inside] = _member(entry, inside, where)
    except (tarfile.TarError, lzma.LZMAError, EOFError, OSError) as exc:
        raise SourceError(
            f"{where}: does not unpack: {exc}",
            hint="the archive is truncated or damaged, or none: remove its pin, fetch and pin it again",
        ) from exc
    if len(tops) != 1 or not members or not all(top.endswith(_TOP_SUFFIX) for top in tops):
        shown = ", ".join(sorted(tops)[:5]) or "nothing"
        raise SourceError(
            f"{where}: not an archive of NVIDIA's: one folder …{_TOP_SUFFIX} is expected on top, found {shown}",
            hint="check the source's url in matrix.yaml",
        )
    return tops.pop(), tuple(members[name] for name in sorted(members))


def _member(entry: tarfile.TarInfo, inside: str, where: str) -> ArchiveMember:
    outside = entry.name.startswith("/") or ".." in entry.name.split("/") or not inside
    target = entry.linkname if entry.issym() else ""
    place = posixpath.normpath(posixpath.join(posixpath.dirname(inside), target))
    if outside or not (entry.isreg() or entry.issym()) or target.startswith("/") or place.split("/")[0] == "..":
        raise SourceError(
            f"{where}: {entry.name} is not a file, folder or symlink inside the archive",
            hint="this is no archive of NVIDIA's",
        )
    return ArchiveMember(path=inside, target=target, executable=entry.isreg() and bool(entry.mode & 0o111))
