"""What a look at anything with a signed list begins with: who signed it, is it the newest, does it still hold, and are
its files what it says (ADR 0026, ADR 0031).
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from builder.errors import ContentsError, ExpiredError, RolledBackError, UntrustedError, VerifyError
from builder.publish.faults import Fault
from builder.publish.location import Location, MissingFileError
from builder.publish.manifest import (
    MAX_BYTES,
    MAX_SIGNATURE,
    ManifestFile,
    SignedList,
    at,
    read_list,
    signature_name,
)
from builder.publish.seen import SeenFile, Sight
from builder.tools.gpg import detached_fault, fingerprint_of, trusted_fault
from builder.tools.rpms import file_sha256

PART = ", in part"  # behind what a bundle took streams and kernels of
_ATTEMPTS = 4  # what is replaced while it is looked at is looked at anew

Listed = TypeVar("Listed", bound=SignedList)
Found = TypeVar("Found")
Looker = TypeVar("Looker", bound="Look[Any]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Signed(Generic[Listed]):
    """A list and who signed it."""

    data: bytes
    key: str
    manifest: Listed


class Look(Generic[Listed]):
    """One look at one place; faults gather in ``faults``."""

    def __init__(self, name: str, kind: type[Listed], location: str, keys: tuple[bytes, ...], tmp: Path) -> None:
        """``name`` is the file that holds the list."""
        self.name = name
        self.location = Location(location, tmp)
        self.keys = keys
        self.tmp = tmp
        self.faults: list[str] = []
        self._kind = kind
        self._began: bytes | None = None  # the list when the look began

    def moved(self) -> bool:
        """Whether another list stands there now than when the look began."""
        return self.bytes_of(self.name, MAX_BYTES) != self._began

    def bytes_of(self, href: str, limit: int) -> bytes | None:
        """A small file; None where there is none, or one that does not end after ``limit`` bytes."""
        try:
            with self.location.open(href, limit=limit) as path:
                return path.read_bytes()
        except MissingFileError:
            return None

    def signed(self) -> Signed[Listed] | None:
        """The list when one of the keys signed it; None and a fault otherwise."""
        data = self._began = self.bytes_of(self.name, MAX_BYTES)
        if data is None:
            self.faults.append(Fault(f"{self.name}: missing: nobody says what belongs here", UntrustedError))
            return None
        name = signature_name(data, self.name)
        signature = self.bytes_of(name, MAX_SIGNATURE)
        if signature is None:
            self.faults.append(Fault(f"{self.name}: not signed: {name} is missing", UntrustedError))
            return None
        written, detached = self.tmp / "manifest", self.tmp / "manifest.asc"
        written.write_bytes(data)
        detached.write_bytes(signature)
        signers = [key for key in self.keys if detached_fault(key, written, detached) is None]
        if not signers:
            fault = trusted_fault(self.keys, written, detached)
            self.faults.append(Fault(f"{self.name}: {fault}", UntrustedError))
            return None
        try:
            manifest = read_list(self._kind, data)
        except ValueError as exc:
            self.faults.append(f"{self.name}: signed, but not a manifest of this version: {exc}")
            return None
        key = fingerprint_of(signers[0])
        if manifest.key != key:
            self.faults.append(Fault(f"{self.name}: says that {manifest.key} signs it, {key} does", UntrustedError))
        return Signed(data=data, key=key, manifest=manifest)

    def age_faults(self, signed: Signed[Listed], of: str, now: int, seen: SeenFile | None) -> Iterator[str]:
        """Is it the newest of ``of`` that was seen here, and does it still hold?"""
        if seen is not None:
            yield from self._history(signed, of, seen)
        if at(signed.manifest.expires) <= now:
            yield self._expired(signed.manifest)

    def _history(self, signed: Signed[Listed], of: str, seen: SeenFile) -> Iterator[str]:
        """Has a newer one been seen here? From now on this one has, whatever else is wrong: its signature is good."""
        here = Sight(
            location=self.location.name.rstrip("/"),
            of=of,
            key=signed.key,
            sequence=signed.manifest.sequence,
            manifest=hashlib.sha256(signed.data).hexdigest(),
            issued=signed.manifest.issued,
        )
        before = seen.newest(here.location, [fingerprint_of(key) for key in self.keys])
        if before is not None and before.of not in (here.of, f"{here.of}{PART}"):  # the whole may follow a part
            yield Fault(f"{self.name}: is of {here.of}; {before.of} was seen here before", RolledBackError)
            return  # its number says nothing about this place
        if before is not None and before.sequence > here.sequence:
            yield Fault(
                f"{self.name}: number {here.sequence} of {here.issued}, but number {before.sequence} of "
                f"{before.issued} was seen here before: an older publication was put back",
                RolledBackError,
            )
        elif before is not None and before.sequence == here.sequence and before.manifest != here.manifest:
            yield Fault(
                f"{self.name}: number {here.sequence} was seen here with other content, issued {before.issued}: "
                "one number stands for one publication",
                RolledBackError,
            )
        seen.record(here)

    def _expired(self, manifest: Listed) -> Fault:
        return Fault(
            f"{self.name}: number {manifest.sequence} of {manifest.issued} expired at {manifest.expires}: "
            "newer ones are kept from you, or nobody publishes any more",
            ExpiredError,
        )

    def size_faults(self, file: ManifestFile) -> Iterator[str]:
        """Of a file in a folder: is it there, and as long as it should be? Nothing is read."""
        if self.location.folder is None:
            return
        path = self.location.folder / file.path
        if not path.is_file():
            yield Fault(f"{file.path}: missing", ContentsError)
        elif path.stat().st_size != file.size:
            yield _other_size(file, path.stat().st_size)

    def file_faults(self, file: ManifestFile) -> Iterator[str]:
        """Has a file the bytes that the list says?"""
        try:
            with self.location.open(file.path, limit=file.size) as path:
                if path.stat().st_size == file.size and file_sha256(path) != file.sha256:
                    yield f"{file.path}: its bytes are not those of the manifest"
                elif path.stat().st_size != file.size:
                    yield _other_size(file, path.stat().st_size)
        except MissingFileError as exc:
            yield Fault(f"{file.path}: {exc}", ContentsError)


def _other_size(file: ManifestFile, size: int) -> Fault:
    if size < file.size:
        return Fault(f"{file.path}: cut off: {size} of {file.size} bytes", ContentsError)
    return Fault(f"{file.path}: has {size} bytes, the manifest says {file.size}")


def look_until_still(tmp: Path, begin: Callable[[Path], Looker], run: Callable[[Looker], Found]) -> Found:
    """What a look finds; one whose list was replaced meanwhile is begun anew."""
    for attempt in range(_ATTEMPTS):
        folder = tmp / f"look-{attempt}"
        folder.mkdir()
        look = begin(folder)
        try:
            return run(look)
        except VerifyError:
            if attempt + 1 == _ATTEMPTS or not look.moved():
                raise
    raise AssertionError("unreachable")
