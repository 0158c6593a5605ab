"""Is this the newest publication, all of it, and nothing else? What no package manager asks (ADR 0026)."""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from builder.errors import ContentsError, MixedError, ToolError, UntrustedError, VerifyError
from builder.publish.faults import Fault, verify_error
from builder.publish.issue import files_below
from builder.publish.looking import PART, Look, look_until_still
from builder.publish.manifest import MANIFEST, MAX_SIGNATURE, Manifest, ManifestFile, read_manifest, signature_name
from builder.publish.order import Role, role_of
from builder.publish.pool import pool_files, pool_of
from builder.publish.record import RECORD
from builder.publish.seen import SeenFile
from builder.publish.verify import PublicationReport, verify_publication
from builder.tools.gpg import detached_fault, trusted_fault
from builder.tools.rpms import file_sha256, read_artifact
from builder.tools.rpmsign import signature_faults

_REPOMD = "repodata/repomd.xml"


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegrityReport:
    """What a publication was found to be."""

    location: str
    manifest: Manifest
    content: PublicationReport | None  # None: only a quick look was taken


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

    def run(look: _Look) -> IntegrityReport:
        return look.run(now=now, seen=seen, quick=quick, with_repos=with_repos)

    return look_until_still(tmp, lambda folder: _Look(MANIFEST, Manifest, location, tuple(keys), folder), run)


class _Look(Look[Manifest]):
    """One look at one publication."""

    def run(self, *, now: int, seen: SeenFile | None, quick: bool, with_repos: Sequence[str]) -> IntegrityReport:
        """All checks; what is not signed is not read further than to say so."""
        signed = self.signed()
        content = None
        if signed is not None:
            self.faults.extend(self.age_faults(signed, subject_of(signed.manifest), now, seen))
            self.faults.extend(self._roots(signed.manifest))
        if not quick:
            content = self._content(with_repos)
        if signed is not None:
            self.faults.extend(self._files(signed.manifest, content, quick=quick))
        if self.faults or signed is None:
            raise verify_error(self.location.name, self.faults)
        return IntegrityReport(location=self.location.name, manifest=signed.manifest, content=content)

    def _roots(self, manifest: Manifest) -> Iterator[str]:
        """publication.json and each repomd.xml are those of this manifest, or of another publication."""
        by_path = {file.path: file for file in manifest.files}
        for path, file in by_path.items():
            if path not in (RECORD, _REPOMD) and not path.endswith(f"/{_REPOMD}"):
                continue
            data = self.bytes_of(path, max(file.size, MAX_SIGNATURE << 8))
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
        signature = self.bytes_of(f"{path}.asc", MAX_SIGNATURE)
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
            yield from self.size_faults(file)
            if not quick and not file.path.endswith(".rpm"):
                yield from self.file_faults(file)
        for path, sha256 in sorted(content.files.items() if content else ()):
            if path not in listed:
                yield Fault(f"{path}: the metadata name it, the manifest does not", ContentsError)
            elif sha256 != listed[path].sha256:
                yield Fault(f"{path}: has other bytes in the metadata than in the manifest", MixedError)
        folder = self.location.folder
        if folder is not None:
            there = (name for name, _entry in (*files_below(folder), *pool_files(folder)))
            for name in self._strangers(folder, {name for name in there if name not in listed}, quick=quick):
                yield Fault(f"{name}: is not in the manifest", ContentsError)

    def _strangers(self, folder: Path, more: Collection[str], *, quick: bool) -> list[str]:
        """Of files that the manifest does not list those that nobody with a key put there.

        Not the files of generations beside this one: they share a pool with it, or a target keeps them here for clients
        that began with them; a quick look compares their sizes. Nor, while a publication is being made, RPMs with a
        good signature: it has them in the pool, which it marks, before its manifest.
        """
        pool = pool_of(folder)
        being_made = pool is not None and pool.is_marked  # asked before the manifests: where it ended, they are there
        former = self._former(folder) if more else {}
        unknown = sorted(name for name in more if name not in former or not _is(folder / name, former[name], quick))
        if not being_made:
            return unknown
        packages = {folder / name: name for name in unknown if role_of(name) is Role.PACKAGE}
        own = {name for path, name in packages.items() if _has_its_name(path)}
        if own:
            tmp = self.tmp / "strangers"
            tmp.mkdir()
            bad = signature_faults([folder / name for name in sorted(own)], self.keys, tmp)
            own -= {packages[path] for path in bad}
        return [name for name in unknown if name not in own]

    def _former(self, folder: Path) -> dict[str, ManifestFile]:
        """By path, what signed manifests of generations beside this one list."""
        former: dict[str, ManifestFile] = {}
        for place in sorted(folder.resolve().parent.glob(f"*/{MANIFEST}")):
            data = place.read_bytes()
            signature = place.with_name(signature_name(data))
            if signature.is_file() and any(detached_fault(key, place, signature) is None for key in self.keys):
                with suppress(ValueError):
                    former.update({file.path: file for file in read_manifest(data).files})
        return former


def _is(path: Path, file: ManifestFile, quick: bool) -> bool:
    """Whether a file is that of a manifest; not a link, which leads to who knows what."""
    same = not path.is_symlink() and path.is_file() and path.stat().st_size == file.size
    return same and (quick or file_sha256(path) == file.sha256)


def _has_its_name(path: Path) -> bool:
    """Whether an RPM is called what it says it is."""
    try:
        return not path.is_symlink() and read_artifact(path).nevra.filename == path.name
    except (ToolError, OSError):
        return False


def subject_of(manifest: Manifest) -> str:
    """What a publication is of, as one that looks remembers it."""
    return f"{manifest.distribution}/{manifest.arch}{PART if manifest.part_of else ''}"
