"""A prefix of a bucket that clients read over HTTP: objects with cache headers and digests, conditional writes."""

from __future__ import annotations

import mimetypes
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.store.places import PlaceError, S3Place, code_of

_SHA256 = "sha256"  # name of the metadata that holds an object's digest: ETags of multipart uploads are none
_MOVED = ("PreconditionFailed", "ConditionalRequestConflict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Versioned:
    """A small object's bytes and what a conditional write has to name."""

    data: bytes
    etag: str


class Bucket(S3Place):
    """Everything raises PlaceError; its message holds no secret."""

    def __init__(self, root: str) -> None:
        super().__init__(root, option="")

    def sizes(self) -> dict[str, int]:
        """Bytes of every object below the prefix, by name."""
        with self._failures(""):
            found: dict[str, Any] = self._fs.find(self._root, detail=True)
            return {str(name).removeprefix(f"{self._root}/"): int(row["size"]) for name, row in found.items()}

    def digest(self, name: str) -> str | None:
        """The sha256 that an object was written with; None where there is none or no object."""
        with self._failures(name):
            try:
                return dict(self._fs.metadata(self._at(name))).get(_SHA256)
            except FileNotFoundError:
                return None

    def versioned(self, name: str) -> Versioned | None:
        """A small object with its ETag; None where there is none."""
        with self._failures(name):
            try:
                # The ETag first: were the bytes replaced in between, the conditional write refuses.
                etag = str(self._fs.info(self._at(name), refresh=True)["ETag"])
                return Versioned(data=bytes(self._fs.cat_file(self._at(name))), etag=etag)
            except FileNotFoundError:
                return None

    def publish(self, source: Path | bytes, name: str, *, sha256: str, cache: str, create: bool = False) -> bool:
        """Make ``name`` these bytes with their cache header; ``create``: only where it is not there (False then)."""
        options = self._options(name, sha256, cache)
        mode = "create" if create else "overwrite"
        with self._failures(name):
            try:
                if isinstance(source, bytes):
                    self._fs.pipe_file(self._at(name), source, mode=mode, **options)
                else:
                    self._fs.put_file(str(source), self._at(name), mode=mode, **options)
            except FileExistsError:
                return False
            except self._errors as exc:
                if create and code_of(exc) in _MOVED:
                    return False
                raise
        return True

    def replace(self, name: str, data: bytes, former: Versioned | None) -> bool:
        """Write a small object if it is still what was read (None: if there is none); False when it is not."""
        condition = {"IfNoneMatch": "*"} if former is None else {"IfMatch": former.etag}
        with self._failures(name):
            try:
                self._fs.pipe_file(self._at(name), data, CacheControl="no-store", **condition)
            except (FileExistsError, FileNotFoundError):
                return False
            except self._errors as exc:
                if code_of(exc) in _MOVED:
                    return False
                raise
        return True

    def remove(self, names: Iterable[str]) -> None:
        """Delete objects; those that are gone already are fine."""
        paths = [self._at(name) for name in names]
        with self._failures(""):
            if paths:
                self._fs.rm(paths)

    def _options(self, name: str, sha256: str, cache: str) -> dict[str, Any]:
        kind = "application/x-rpm" if name.endswith(".rpm") else mimetypes.guess_type(name)[0]
        if name.endswith(".gz"):
            kind = "application/gzip"  # never a Content-Encoding: the .gz is what clients hash
        return {
            "CacheControl": cache,
            "ContentType": kind or "application/octet-stream",
            "Metadata": {_SHA256: sha256},
        }


__all__ = ["Bucket", "PlaceError", "Versioned"]
