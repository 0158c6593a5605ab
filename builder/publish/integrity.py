"""Is this the newest publication, all of it, and nothing else? What no package manager asks (ADR 0026)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ContentsError, ExpiredError, MixedError, RolledBackError, UntrustedError, VerifyError
from builder.publish.faults import Fault, verify_error
from builder.publish.issue import files_below
from builder.publish.location import Location, MissingFileError
from builder.publish.manifest import (
    MANIFEST,
    MAX_BYTES,
    MAX_SIGNATURE,
    Manifest,
    ManifestFile,
    at,
    read_manifest,
    signature_name,
)
from builder.publish.record import RECORD
from builder.publish.seen import SeenFile, Sight
from builder.publish.verify import PublicationReport, verify_publication
from builder.tools.gpg import detached_fault, fingerprint_of, trusted_fault
from builder.tools.rpms import file_sha256

_ATTEMPTS = 4  # a publication that becomes current while it is looked at begins the look anew
_REPOMD = "repodata/repomd.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """What a publication was found to be."""

    location: str
    manifest: Manifest
    content: PublicationReport | None  # None: only a quick look was taken


@dataclass(frozen=True, slots=True, kw_only=True)
class _Signed:
    """A manifest and who signed it."""

    data: bytes
    key: str
    manifest: Manifest


def verify_integrity(
    location: str,
    keys: Sequence[bytes],
    tmp: Path,
    *,
    now: int,
    seen: SeenFile | None = None,
    quick: bool = False,
    with_repos: Sequence[str] = (),
) -> IntegrityReport:
    """Everything that ``verify_publication`` looks at, and the signed manifest: its number, its date, each file.

    ``keys`` are trusted, each on its own. ``seen`` remembers the highest number of this place; None: nothing is known
    and nothing kept. ``now`` (seconds since the epoch) is what expiry is compared with. ``quick`` fetches the manifest
    and the roots of the metadata with their signatures, nothing else; of a folder, all file sizes are compared too.

    Raises VerifyError, of the worst kind found, with every fault.
    """
    for attempt in range(_ATTEMPTS):
        folder = tmp / f"look-{attempt}"
        folder.mkdir()
        look = _Look(location, tuple(keys), folder)
        try:
            return look.run(now=now, seen=seen, quick=quick, with_repos=with_repos)
        except VerifyError:
            if attempt + 1 == _ATTEMPTS or not look.moved():
                raise
    raise AssertionError("unreachable")


class _Look:
    """One look at one publication; faults gather here."""

    def __init__(self, location: str, keys: tuple[bytes, ...], tmp: Path) -> None:
        self.location = Location(location, tmp)
        self.keys = keys
        self.tmp = tmp
        self.began: bytes | None = None  # the manifest when the look began
        self.faults: list[str] = []
        self.former: dict[str, str] | None = None

    def run(self, *, now: int, seen: SeenFile | None, quick: bool, with_repos: Sequence[str]) -> IntegrityReport:
        """All checks; what is not signed is not read further than to say so."""
        signed = self._signed()
        content = None
        if signed is not None:
            self.faults.extend(self._history(signed, seen))
            if at(signed.manifest.expires) <= now:
                self.faults.append(_expired(signed.manifest))
            self.faults.extend(self._roots(signed.manifest))
        if not quick:
            content = self._content(with_repos)
        if signed is not None:
            self.faults.extend(self._files(signed.manifest, content, quick=quick))
        if self.faults or signed is None:
            raise verify_error(self.location.name, self.faults)
        return IntegrityReport(location=self.location.name, manifest=signed.manifest, content=content)

    def moved(self) -> bool:
        """Whether another manifest stands there now than when the look began."""
        return self._bytes(MANIFEST, MAX_BYTES) != self.began

    def _bytes(self, href: str, limit: int) -> bytes | None:
        try:
            with self.location.open(href, limit=limit) as path:
                return path.read_bytes()
        except MissingFileError:
            return None

    def _signed(self) -> _Signed | None:
        """The manifest when one of the keys signed it; None and a fault otherwise."""
        data = self.began = self._bytes(MANIFEST, MAX_BYTES)
        if data is None:
            self.faults.append(
                Fault(f"{MANIFEST}: missing: nobody says what belongs to this publication", UntrustedError)
            )
            return None
        name = signature_name(data)
        signature = self._bytes(name, MAX_SIGNATURE)
        if signature is None:
            self.faults.append(Fault(f"{MANIFEST}: not signed: {name} is missing", UntrustedError))
            return None
        written, detached = self.tmp / "manifest", self.tmp / "manifest.asc"
        written.write_bytes(data)
        detached.write_bytes(signature)
        signers = [key for key in self.keys if detached_fault(key, written, detached) is None]
        if not signers:
            fault = trusted_fault(self.keys, written, detached)
            self.faults.append(Fault(f"{MANIFEST}: {fault}", UntrustedError))
            return None
        try:
            manifest = read_manifest(data)
        except ValueError as exc:
            self.faults.append(f"{MANIFEST}: signed, but not a manifest of this version: {exc}")
            return None
        key = fingerprint_of(signers[0])
        if manifest.key != key:
            self.faults.append(Fault(f"{MANIFEST}: says that {manifest.key} signs it, {key} does", UntrustedError))
        return _Signed(data=data, key=key, manifest=manifest)

    def _history(self, signed: _Signed, seen: SeenFile | None) -> Iterator[str]:
        """Has a newer one been seen here? From now on this one has, whatever else is wrong: its signature is good."""
        if seen is None:
            return
        here = Sight(
            location=self.location.name.rstrip("/"),
            of=f"{signed.manifest.distribution}/{signed.manifest.arch}",
            key=signed.key,
            sequence=signed.manifest.sequence,
            manifest=hashlib.sha256(signed.data).hexdigest(),
            issued=signed.manifest.issued,
        )
        before = seen.newest(here.location, [fingerprint_of(key) for key in self.keys])
        if before is not None and before.of != here.of:
            yield Fault(f"{MANIFEST}: is of {here.of}; {before.of} was seen here before", RolledBackError)
            return  # its number says nothing about this place
        if before is not None and before.sequence > here.sequence:
            yield Fault(
                f"{MANIFEST}: number {here.sequence} of {here.issued}, but number {before.sequence} of {before.issued} "
                "was seen here before: an older publication was put back",
                RolledBackError,
            )
        elif before is not None and before.sequence == here.sequence and before.manifest != here.manifest:
            yield Fault(
                f"{MANIFEST}: number {here.sequence} was seen here with other content, issued {before.issued}: "
                "one number stands for one publication",
                RolledBackError,
            )
        seen.record(here)

    def _roots(self, manifest: Manifest) -> Iterator[str]:
        """publication.json and each repomd.xml are those of this manifest, or of another publication."""
        by_path = {file.path: file for file in manifest.files}
        for path, file in by_path.items():
            if path not in (RECORD, _REPOMD) and not path.endswith(f"/{_REPOMD}"):
                continue
            data = self._bytes(path, max(file.size, MAX_SIGNATURE << 8))
            if data is None:
                yield Fault(f"{path}: missing", ContentsError)
                continue
            if path != RECORD:
                fault = self._repomd_fault(path, data)
                if fault is not None:
                    yield Fault(f"{path}: {fault}", UntrustedError)
                    continue
            if hashlib.sha256(data).hexdigest() != file.sha256:
                yield Fault(
                    f"{path}: belongs to another publication than the manifest (number {manifest.sequence})", MixedError
                )
        if RECORD not in by_path or by_path[RECORD].sha256 != manifest.publication:
            yield f"{MANIFEST}: does not list the {RECORD} that it is named by"

    def _repomd_fault(self, path: str, data: bytes) -> str | None:
        signature = self._bytes(f"{path}.asc", MAX_SIGNATURE)
        if signature is None:
            return "not signed: its .asc is missing"
        written, detached = self.tmp / "root.xml", self.tmp / "root.asc"
        written.write_bytes(data)
        detached.write_bytes(signature)
        return trusted_fault(self.keys, written, detached)

    def _content(self, with_repos: Sequence[str]) -> PublicationReport | None:
        tmp = self.tmp / "content"
        tmp.mkdir()
        try:
            return verify_publication(self.location.name, self.keys, tmp, with_repos=with_repos)
        except VerifyError as exc:
            if type(exc) is VerifyError and not exc.details:  # no place to look at
                raise
            self.faults.extend(exc.details or (exc.message,))
            return None

    def _files(self, manifest: Manifest, content: PublicationReport | None, *, quick: bool) -> Iterator[str]:
        """Each file of the manifest is there as it says, and no other one.

        RPMs were read by ``_content``, which compared them with the metadata; here their digests are compared.
        """
        listed = {file.path: file for file in manifest.files}
        for file in manifest.files:
            if self.location.folder is not None:
                yield from _size_faults(self.location.folder, file)
            if not quick and not file.path.endswith(".rpm"):
                yield from self._file_faults(file)
        for path, sha256 in sorted(content.files.items() if content else ()):
            if path not in listed:
                yield Fault(f"{path}: the metadata name it, the manifest does not", ContentsError)
            elif sha256 != listed[path].sha256:
                yield Fault(f"{path}: has other bytes in the metadata than in the manifest", MixedError)
        if self.location.folder is not None:
            for name, _entry in files_below(self.location.folder):
                if name not in listed and self._former(self.location.folder).get(name) != file_sha256(
                    self.location.folder / name
                ):
                    yield Fault(f"{name}: is not in the manifest", ContentsError)

    def _former(self, folder: Path) -> dict[str, str]:
        """sha256 by path of what signed manifests of generations beside this one list: a target keeps their files here
        for clients that began with them.
        """
        if self.former is None:
            self.former = {}
            for place in sorted(folder.resolve().parent.glob(f"*/{MANIFEST}")):
                data = place.read_bytes()
                signature = place.with_name(signature_name(data))
                if signature.is_file() and any(detached_fault(key, place, signature) is None for key in self.keys):
                    with suppress(ValueError):
                        self.former.update({file.path: file.sha256 for file in read_manifest(data).files})
        return self.former

    def _file_faults(self, file: ManifestFile) -> Iterator[str]:
        try:
            with self.location.open(file.path, limit=file.size) as path:
                if path.stat().st_size == file.size and file_sha256(path) != file.sha256:
                    yield f"{file.path}: its bytes are not those of the manifest"
                elif path.stat().st_size != file.size:
                    yield _other_size(file, path.stat().st_size)
        except MissingFileError as exc:
            yield Fault(f"{file.path}: {exc}", ContentsError)


def _size_faults(folder: Path, file: ManifestFile) -> Iterator[str]:
    path = folder / file.path
    if not path.is_file():
        yield Fault(f"{file.path}: missing", ContentsError)
    elif path.stat().st_size != file.size:
        yield _other_size(file, path.stat().st_size)


def _other_size(file: ManifestFile, size: int) -> Fault:
    if size < file.size:
        return Fault(f"{file.path}: cut off: {size} of {file.size} bytes", ContentsError)
    return Fault(f"{file.path}: has {size} bytes, the manifest says {file.size}")


def _expired(manifest: Manifest) -> Fault:
    return Fault(
        f"{MANIFEST}: number {manifest.sequence} of {manifest.issued} expired at {manifest.expires}: "
        "newer ones are kept from you, or nobody publishes any more",
        ExpiredError,
    )
