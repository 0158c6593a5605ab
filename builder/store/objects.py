"""What a shared store holds of a folder: its files, each under its sha256, and a description that names them.

Layout of a shared store (docs/adr/0023-shared-store.md)::

    repobuild-store.json                   its format and id
    objects/<kind>/<key>.json              the description; written last, so an object is whole or absent
    data/<first two digits>/<sha256>       bytes of files
    serials/<digest of scope>/<serial>     which content that release serial stands for
"""

from __future__ import annotations

import hashlib
import json
import re
import stat
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from builder.errors import StoreError

FORMAT = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_CHUNK = 1 << 20  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class SharedFile:
    """One file of an object."""

    path: str  # relative to the object's folder
    size: int  # bytes
    sha256: str
    executable: bool

    @property
    def data(self) -> str:
        """Name of its bytes in a shared store."""
        return f"data/{self.sha256[:2]}/{self.sha256}"


def describe_folder(folder: Path) -> tuple[SharedFile, ...] | None:
    """The files of a folder by path; None where it holds anything but files and folders."""
    found = []
    for path in sorted(folder.rglob("*")):
        mode = path.lstat().st_mode
        if stat.S_ISDIR(mode):
            continue
        if not stat.S_ISREG(mode):
            return None
        found.append(
            SharedFile(
                path=path.relative_to(folder).as_posix(),
                size=path.stat().st_size,
                sha256=sha256_of(path),
                executable=bool(mode & stat.S_IXUSR),
            )
        )
    return tuple(found)


def write_description(kind: str, key: str, files: tuple[SharedFile, ...]) -> bytes:
    """The description of an object."""
    rows = [{"path": f.path, "size": f.size, "sha256": f.sha256, "executable": f.executable} for f in files]
    return json.dumps({"format": FORMAT, "kind": kind, "key": key, "files": rows}, indent=1).encode()


def read_description(data: bytes, kind: str, key: str) -> tuple[SharedFile, ...]:
    """The files of an object; raises StoreError when this is no description of it that we could have written."""
    try:
        document = json.loads(data)
        of = (document["format"], document["kind"], document["key"])
        files = tuple(
            SharedFile(
                path=str(row["path"]),
                size=int(row["size"]),
                sha256=str(row["sha256"]),
                executable=bool(row["executable"]),
            )
            for row in document["files"]
        )
    except (ValueError, KeyError, TypeError) as exc:
        raise StoreError(f"its description is damaged: {exc}") from exc
    if of != (FORMAT, kind, key):
        raise StoreError(f"its description is of something else: {of}")
    for file in files:
        path = PurePosixPath(file.path)
        if path.is_absolute() or ".." in path.parts or not path.parts or not _SHA256.fullmatch(file.sha256):
            raise StoreError(f"its description names {file.path!r}, which is no file of an object")
    if not files or len({file.path for file in files}) != len(files):
        raise StoreError("its description names no file, or one twice")
    return files


def fault_of(path: Path, file: SharedFile) -> str | None:
    """Why the bytes that arrived are not the described ones, None where they are."""
    size = path.stat().st_size
    if size != file.size:
        return f"{file.path}: {size} bytes, described as {file.size}"
    sha256 = sha256_of(path)
    return None if sha256 == file.sha256 else f"{file.path}: sha256 {sha256[:12]}…, described as {file.sha256[:12]}…"


def sha256_of(path: Path) -> str:
    """Of a file's bytes."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
