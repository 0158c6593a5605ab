"""Where a shared store lies: a folder that several machines mount, or S3-compatible storage.

A place holds files by name. What is written is whole or absent for every reader, and ``create`` succeeds for one writer
alone: by link(2) in a folder, which is atomic on NFS, too; by a conditional write (``If-None-Match: *``) in S3. No lock
is ever taken. Everything that fails raises PlaceError.
"""

from __future__ import annotations

import errno
import os
import shutil
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote, urlsplit

from builder.errors import DiskFullError, SharedStoreError
from builder.store.files import os_failure, sync_path

_OLD = 7 * 86400.0  # seconds after which a leftover of a killed writer is removed
_HOST = socket.gethostname()
_SECRETS = ("AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ACCESS_KEY_ID")
_PATIENCE = {"connect_timeout": 10, "read_timeout": 60, "retries": {"max_attempts": 3, "mode": "standard"}}  # seconds


class PlaceError(Exception):
    """A place cannot be read or written; the message holds no secret."""


class Place(Protocol):
    """Files by name; a name is relative and has only letters, digits, ``.``, ``-``, ``_`` and ``/``."""

    def names(self, folder: str) -> frozenset[str]:
        """Names below ``folder``, relative to it; none where it is not there."""

    def read(self, name: str) -> bytes | None:
        """The bytes of a small file, None where there is none."""

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """The bytes of small files by name, without those that are not there."""

    def size(self, name: str) -> int | None:
        """Bytes of a file, None where there is none."""

    def fetch(self, name: str, target: Path) -> bool:
        """Copy a file to ``target``; False where there is none. Raises DiskFullError, too."""

    def put(self, source: Path | bytes, name: str, *, synced: bool = True) -> None:
        """Make ``name`` these bytes, or those of a file, whatever it was before.

        A power cut may take it as if it never was; not ``synced``: or some of its bytes.
        """

    def create(self, name: str, data: bytes, *, lasting: bool = True) -> bool:
        """Make ``name`` these bytes unless it is there: False then. Of several writers one succeeds.

        Not ``lasting``: a power cut may take it as if it never was, but never a part of it.
        """


def open_place(url: str) -> Place:
    """The place of a URL: ``file:///folder``, an absolute path, or ``s3://bucket/prefix``.

    Credentials and endpoint of S3 come from where its tools look for them: environment, profile, instance role. Raises
    SharedStoreError for another URL, one with credentials in it, or S3 without its package.
    """
    parts = urlsplit(url)
    if "@" in parts.netloc or parts.query or parts.fragment:
        raise SharedStoreError(
            f"--store {parts.scheme}://…: only file:///folder and s3://bucket/prefix are understood",
            hint="credentials are taken from the environment (AWS_PROFILE, AWS_ACCESS_KEY_ID, …), never from a URL",
        )
    if parts.scheme in ("", "file") and not parts.netloc and parts.path.startswith("/"):
        folder = FolderPlace(Path(unquote(parts.path)))
        folder.sweep()
        return folder
    if parts.scheme == "s3" and parts.netloc:
        return S3Place(f"{parts.netloc}{parts.path}".rstrip("/"))
    raise SharedStoreError(
        f"--store {url}: no place for a store", hint="file:///folder, an absolute path, or s3://bucket/prefix"
    )


class FolderPlace:
    """A folder; the folder itself must be there, as an unmounted file system is no empty store."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def names(self, folder: str) -> frozenset[str]:
        """See Place."""
        top = self._root / folder
        with _failures(top):
            walk = os.walk(top, onerror=_unless_missing)
            return frozenset(str((Path(at) / name).relative_to(top)) for at, _, files in walk for name in files)

    def read(self, name: str) -> bytes | None:
        """See Place."""
        with _failures(self._root / name):
            try:
                return (self._root / name).read_bytes()
            except FileNotFoundError:
                return None

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """See Place."""
        return {name: data for name in names if (data := self.read(name)) is not None}

    def size(self, name: str) -> int | None:
        """See Place."""
        with _failures(self._root / name):
            try:
                return (self._root / name).stat().st_size
            except FileNotFoundError:
                return None

    def fetch(self, name: str, target: Path) -> bool:
        """See Place."""
        with _failures(self._root / name), _local(target):
            try:
                shutil.copyfile(self._root / name, target)
            except FileNotFoundError:
                return False
            return True

    def put(self, source: Path | bytes, name: str, *, synced: bool = True) -> None:
        """See Place."""
        target = self._root / name
        with _failures(target), self._fresh(target.parent) as fresh:
            if isinstance(source, bytes):
                fresh.write_bytes(source)
            else:
                shutil.copyfile(source, fresh)
            if synced:
                sync_path(fresh)
            fresh.replace(target)  # its folder is not synced: what a power cut takes is put anew

    def create(self, name: str, data: bytes, *, lasting: bool = True) -> bool:
        """See Place."""
        target = self._root / name
        with _failures(target), self._fresh(target.parent) as fresh:
            fresh.write_bytes(data)
            sync_path(fresh)
            try:
                os.link(fresh, target)
            except FileExistsError:
                return False
            if lasting:
                sync_path(target.parent)
            return True

    @contextmanager
    def _fresh(self, folder: Path) -> Iterator[Path]:
        """A new file's path in the place, gone afterwards unless it was renamed into ``folder``, which is made."""
        tmp = self._root / "tmp"
        if not tmp.is_dir():
            if not self._root.is_dir():
                raise FileNotFoundError(errno.ENOENT, "is not there: make it, or mount it", str(self._root))
            tmp.mkdir(exist_ok=True)
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
        fresh = tmp / f"{_HOST}-{os.getpid()}-{os.urandom(16).hex()}"
        try:
            yield fresh
        finally:
            with suppress(OSError):
                fresh.unlink(missing_ok=True)

    def sweep(self) -> None:
        """Remove what writers that were killed long ago left behind."""
        with suppress(OSError):
            for leftover in (self._root / "tmp").iterdir():
                if leftover.stat().st_mtime < time.time() - _OLD:
                    leftover.unlink(missing_ok=True)


def _unless_missing(error: OSError) -> None:
    if not isinstance(error, FileNotFoundError):
        raise error


@contextmanager
def _failures(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as exc:
        raise PlaceError(f"{exc.filename or path}: {exc.strerror or exc}") from exc


@contextmanager
def _local(target: Path) -> Iterator[None]:
    """Our own disk is full: that is no failure of the place."""
    try:
        yield
    except OSError as exc:
        failure = os_failure(exc, target)
        if isinstance(failure, DiskFullError):
            raise failure from exc
        raise


class S3Place:
    """A prefix of a bucket, through fsspec's s3fs (extra ``repobuild[s3]``)."""

    def __init__(self, root: str, option: str = "--store ") -> None:
        try:
            import aiohttp  # noqa: PLC0415  an extra
            import botocore.exceptions  # noqa: PLC0415
            import s3fs  # noqa: PLC0415
        except ImportError as exc:
            raise SharedStoreError(
                f"{option}s3://{root}: needs packages that are not installed: {exc.name}",
                hint="pip install 'repobuild[s3]'",
            ) from exc
        self._root = root
        of_boto = (botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError)
        self._errors = (OSError, aiohttp.ClientError, *of_boto)  # the second: a connection that ends in mid-file
        self._fs: Any = s3fs.S3FileSystem(config_kwargs=_PATIENCE, use_listings_cache=False)

    def _at(self, name: str) -> str:
        return f"{self._root}/{name}"

    @contextmanager
    def _failures(self, name: str) -> Iterator[None]:
        try:
            yield
        except self._errors as exc:
            raise PlaceError(f"s3://{self._at(name)}: {_without_secrets(exc)}") from exc

    def names(self, folder: str) -> frozenset[str]:
        """See Place."""
        with self._failures(folder):
            found = self._fs.find(self._at(folder))
            return frozenset(str(name).removeprefix(f"{self._at(folder)}/") for name in found)

    def read(self, name: str) -> bytes | None:
        """See Place."""
        with self._failures(name):
            try:
                return bytes(self._fs.cat_file(self._at(name)))
            except FileNotFoundError:
                return None

    def read_all(self, names: list[str]) -> dict[str, bytes]:
        """See Place; many at a time."""
        with self._failures(names[0] if names else ""):
            paths = {self._at(name): name for name in names}
            found = self._fs.cat(list(paths), on_error="omit") if len(paths) > 1 else {}
            if len(paths) == 1 and (data := self.read(names[0])) is not None:
                return {names[0]: data}
            return {paths[path]: bytes(data) for path, data in found.items()}

    def size(self, name: str) -> int | None:
        """See Place."""
        with self._failures(name):
            try:
                return int(self._fs.info(self._at(name))["size"])
            except FileNotFoundError:
                return None

    def fetch(self, name: str, target: Path) -> bool:
        """See Place."""
        with self._failures(name), _local(target):
            try:
                self._fs.get_file(self._at(name), str(target))
            except FileNotFoundError:
                return False
            return True

    def put(self, source: Path | bytes, name: str, *, synced: bool = True) -> None:  # noqa: ARG002  it always is
        """See Place: S3 shows an object when all of it is there."""
        with self._failures(name):
            if isinstance(source, bytes):
                self._fs.pipe_file(self._at(name), source)
            else:
                self._fs.put_file(str(source), self._at(name))

    def create(self, name: str, data: bytes, *, lasting: bool = True) -> bool:  # noqa: ARG002  it always lasts
        """See Place."""
        with self._failures(name):
            try:
                self._fs.pipe_file(self._at(name), data, mode="create")
            except FileExistsError:
                return False
            except self._errors as exc:
                if code_of(exc) in ("PreconditionFailed", "ConditionalRequestConflict"):
                    return False
                raise
            return True


def code_of(exc: BaseException) -> str:
    """S3's own name of a failure; s3fs keeps it in what its exception was made from."""
    response = getattr(exc, "response", None) or getattr(exc.__cause__, "response", None) or {}
    return str(response.get("Error", {}).get("Code", ""))


def _without_secrets(exc: BaseException) -> str:
    text = f"{type(exc).__name__}: {exc}".splitlines()[0]
    for name in _SECRETS:
        if value := os.environ.get(name):
            text = text.replace(value, f"${name}")
    return text
