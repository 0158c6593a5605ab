"""Look at a publication as a client would, with nothing but its address and the public key."""

from __future__ import annotations

import gzip
import json
import os
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from builder.errors import (
    ContentsError,
    RepobuildError,
    SignError,
    ToolError,
    ToolMissingError,
    UntrustedError,
    VerifyError,
)
from builder.model.naming import RELEASE_FILE
from builder.publish.beside import RELEASE, release_faults
from builder.publish.closure import BaseRepository, closure_faults, load_base
from builder.publish.errata_checks import errata_faults
from builder.publish.faults import Fault, verify_error, within
from builder.publish.location import Location, MissingFileError
from builder.publish.module_checks import ModuleIndex, module_faults, read_modules
from builder.publish.record import RECORD
from builder.publish.trees import StreamTree, read_named_streams, read_trees
from builder.publish.unchanged import Unchanged
from builder.store import Derived
from builder.tools.createrepo import (
    ListedPackage,
    MetadataRecord,
    load_package,
    modulemd_fault,
    nevra_of,
    read_primary,
    read_repomd,
)
from builder.tools.gpg import FOREIGN, fingerprint_of, trusted_fault
from builder.tools.oldrpm import old_rpm_faults
from builder.tools.rpms import file_sha256
from builder.tools.rpmsign import signature_faults

TURNS = 64  # of so many RPMs one is read again although it was good: a disk may lose bytes that nobody wrote
_ROOT = 16 << 20  # bytes that a repomd.xml or a signature may have
_BATCH = 50  # RPMs that are held at once when they have to be fetched
_NEEDED = ("primary", "filelists", "other")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationReport:
    """What was looked at and found whole."""

    location: str
    fingerprint: str  # of the key that signed all of it
    packages: int
    streams: int
    metadata: int  # files named by repomd.xml
    requirements: int  # dependencies looked up
    files: dict[str, str] = field(default_factory=dict, repr=False)  # RPMs that were read: path → sha256

    def counts(self) -> dict[str, int]:
        """As ``name → count``, for people and JSON."""
        return {
            "packages": self.packages,
            "streams": self.streams,
            "metadata": self.metadata,
            "requirements": self.requirements,
        }


def verify_publication(
    location: str,
    public_key: bytes | Sequence[bytes],
    tmp: Path,
    *,
    with_repos: Sequence[str] = (),
    derived: Derived | None = None,
) -> PublicationReport:
    """Check signatures, checksums, module documents and closure; ``tmp`` is an empty folder for copies.

    ``public_key``: the key, or several of which each is trusted (while one follows another, ADR 0026).

    Where a publication has a metadata tree a stream instead of module documents, each tree is looked at as a repository
    of its own, and the package that selects it. Where streams stand in package names, nothing may ask for more than the
    rpm of such hosts knows.

    ``with_repos`` are base repositories (gz metadata): with them every dependency must be met and every stream's
    default profile must be installable; without them only dependencies on packages of our own names are looked up.

    ``derived`` is of one who looked before: local RPMs that were good, and that nobody wrote to since, are not read
    again but for one in ``TURNS`` each time. Without it every byte is read.

    Raises VerifyError, of the worst kind found, with every fault, each beginning with the file, package or stream it is
    about.
    """
    keys = (public_key,) if isinstance(public_key, bytes) else tuple(public_key)
    try:
        return _Looking(Location(location, tmp), keys, tmp, derived=derived).run(with_repos)
    except ToolMissingError:
        raise
    except (SignError, ToolError) as exc:
        raise VerifyError(f"{location}: cannot be verified: {exc.message}", details=exc.details, hint=exc.hint) from exc


class _Looking:
    """One pass over a repository; faults gather here.

    ``seen`` are packages that were found whole already: trees of one publication share them.
    """

    def __init__(
        self,
        location: Location,
        keys: tuple[bytes, ...],
        tmp: Path,
        seen: set[ListedPackage] | None = None,
        *,
        derived: Derived | None = None,
    ) -> None:
        self.location = location
        self.keys = keys
        self.fingerprint = fingerprint_of(keys[0])
        self.tmp = tmp
        self.derived = derived
        self.seen = set() if seen is None else seen
        self.faults: list[str] = []
        self.omitted: frozenset[str] = frozenset()  # packages of kernels that a bundle was made without
        self.named: ModuleIndex | None = None  # the streams, where they stand in package names

    def run(self, with_repos: Sequence[str]) -> PublicationReport:
        """All checks in order; later ones go on with what earlier ones could read."""
        trees = self._trees()
        base = load_base(with_repos, self.tmp)
        counts = [self._look_at_tree(tree, base) for tree in trees] if trees else [self._look(None, base)]
        if self.faults:
            raise verify_error(self.location.name, self.faults)
        return PublicationReport(
            location=self.location.name,
            fingerprint=self.fingerprint,
            packages=len(self.seen),
            streams=sum(streams for streams, _, _ in counts),
            metadata=sum(metadata for _, metadata, _ in counts),
            requirements=sum(requirements for _, _, requirements in counts),
            files={package.href: package.sha256 for package in self.seen},
        )

    def _trees(self) -> tuple[StreamTree, ...]:
        """The trees that the publication says it has; none for other deliveries."""
        try:
            with self.location.open(RECORD) as path:
                record = json.loads(path.read_bytes())
                self.named = next(iter(read_named_streams(record)), None)
                self.omitted = frozenset(record.get("omitted", ()))
                return read_trees(record)
        except MissingFileError:
            return ()
        except ValueError as exc:
            self.faults.append(f"{RECORD}: {exc}")
            return ()

    def _look_at_tree(self, tree: StreamTree, base: Sequence[BaseRepository]) -> tuple[int, int, int]:
        """A tree as its hosts see it; its faults with the tree's folder in front."""
        tmp = self.tmp / f"tree-{tree.name}"
        tmp.mkdir()
        place = Location(f"{self.location.name.rstrip('/')}/{tree.folder}", tmp)
        inside = _Looking(place, self.keys, tmp, self.seen, derived=self.derived)
        inside.omitted = self.omitted
        counts = inside._look(tree, base)
        self.faults.extend(f if f.startswith("stream ") else within(tree.folder, f) for f in inside.faults)
        if tree.default:
            self.faults.extend(self._release({p.sha256 for p in self.seen if p.nevra.name == RELEASE}))
        return counts

    def _look(self, tree: StreamTree | None, base: Sequence[BaseRepository]) -> tuple[int, int, int]:
        """One repository: how many streams, metadata files and dependencies were looked at."""
        self.faults.extend(self._repomd())
        records = self._records()
        metadata = {r.type: path for r in records if (path := self._metadata(r)) is not None}
        needed = (*_NEEDED, *(() if tree or self.named else ("modules",)))
        self.faults.extend(f"repodata: no {kind} in repomd.xml" for kind in needed if kind not in _kinds(records))
        packages = self._packages(metadata.get("primary"))
        known = (package for package in packages if package in self.seen)
        self.faults.extend(Fault(f"{p.href}: missing", ContentsError) for p in known if not self.location.holds(p.href))
        self._read([package for package in packages if package not in self.seen])
        index: ModuleIndex | None
        if self.named is not None:
            index = self.named
            self.faults.extend(module_faults(index, packages))
        elif tree is None:
            index = self._modules(metadata.get("modules"), packages)
            if releases := [p for p in packages if p.nevra.name == RELEASE]:
                self.faults.extend(self._release({max(releases, key=lambda p: p.nevra.evr).sha256}))
        else:
            index = ModuleIndex(streams=(tree.indexed(packages),), default_stream=None)
            self.faults.extend(module_faults(index, packages))
            self.faults.extend(self._release({p.sha256 for p in packages if p.nevra.name == RELEASE}))
        if index is not None and "updateinfo" in metadata:
            self.faults.extend(errata_faults(metadata["updateinfo"], index, packages))
        requirements = 0
        if index is not None and packages:
            requirements, found = closure_faults(metadata["primary"], packages, index, base, self.omitted)
            self.faults.extend(found)
        return len(index.streams) if index else 0, len(metadata), requirements

    def _read(self, packages: Sequence[ListedPackage]) -> None:
        """Look at RPMs, but for those that were good when they were looked at and are the same files."""
        unread = packages
        states: dict[str, os.stat_result] = {}
        unchanged = None
        if self.derived is not None:
            # One key's word is not another's, and a host that is old asks for more.
            unchanged = Unchanged(
                self.derived, f"good {' '.join(sorted(map(fingerprint_of, self.keys)))} {'old' if self.named else ''}"
            )
            states = {p.sha256: state for p in packages if (state := self.location.state(p.href)) is not None}
            known = unchanged.find(states)
            turn = unchanged.turn(TURNS)
            unread = [p for p in packages if int(p.sha256, 16) % TURNS == turn or not _is_known(p, known, states)]
        before = len(self.faults)
        for start in range(0, len(unread), _BATCH):
            self.faults.extend(self._rpms(unread[start : start + _BATCH], start))
        self.seen.update(packages)
        if unchanged is not None and len(self.faults) == before:
            unchanged.remember((p.sha256, states[p.sha256], str(p.nevra)) for p in unread if p.sha256 in states)

    def _release(self, known: Collection[str]) -> Iterator[str]:
        """The package that an admin installs by its address must be one of those that were looked at."""
        try:
            with self.location.open(RELEASE_FILE) as path:
                if file_sha256(path) not in known:
                    yield f"{RELEASE_FILE}: is not the package of that name in the metadata"
        except MissingFileError as exc:
            yield Fault(f"{RELEASE_FILE}: {exc}", ContentsError)

    def _keep(self, href: str, name: str, limit: int | None = _ROOT) -> Path | None:
        """A copy of a small file that stays for the whole pass; None (and a fault) when it is not there."""
        kept = self.tmp / name
        try:
            with self.location.open(href, limit=limit) as path:
                shutil.copyfile(path, kept)
        except MissingFileError as exc:
            kind = UntrustedError if href.endswith(".asc") else ContentsError
            self.faults.append(Fault(f"{href}: {exc}", kind))
            return None
        return kept

    def _repomd(self) -> Iterator[str]:
        repomd = self._keep("repodata/repomd.xml", "repomd.xml")
        signature = self._keep("repodata/repomd.xml.asc", "repomd.xml.asc")
        if repomd is not None and signature is not None:
            fault = trusted_fault(self.keys, repomd, signature)
            if fault is not None:
                yield Fault(f"repodata/repomd.xml: {fault}", UntrustedError)

    def _records(self) -> tuple[MetadataRecord, ...]:
        path = self.tmp / "repomd.xml"
        if not path.is_file():
            return ()
        try:
            return read_repomd(path)
        except ToolError as exc:
            self.faults.append(f"repodata/{exc.message}")
            return ()

    def _metadata(self, record: MetadataRecord) -> Path | None:
        """A metadata file whose checksums hold, None (and faults) otherwise."""
        name = f"metadata-{len(list(self.tmp.iterdir()))}-{Path(record.href).name}"
        kept = self._keep(record.href, name, limit=record.size)
        if kept is None:
            return None
        if file_sha256(kept) != record.sha256 or kept.stat().st_size != (record.size or kept.stat().st_size):
            self.faults.append(f"{record.href}: is not the {record.type} file that repomd.xml names (checksum or size)")
            return None
        return kept

    def _packages(self, primary: Path | None) -> tuple[ListedPackage, ...]:
        if primary is None:
            return ()
        try:
            return read_primary(primary)
        except ToolError as exc:
            self.faults.append(f"repodata/primary: {exc.message}")
            return ()

    def _rpms(self, packages: Sequence[ListedPackage], start: int) -> Iterator[str]:
        """Faults of some RPMs: bytes, identity, signature."""
        with ExitStack() as stack:
            paths: dict[Path, ListedPackage] = {}
            for package in packages:
                try:
                    path = stack.enter_context(self.location.open(package.href, limit=package.size))
                except MissingFileError as exc:
                    yield Fault(f"{package.href}: {exc}", ContentsError)
                    continue
                if (size := path.stat().st_size) < package.size:  # rpm would only say that it is no whole RPM
                    yield Fault(f"{package.href}: cut off: {size} of {package.size} bytes", ContentsError)
                    continue
                paths[path] = package
                yield from _file_faults(path, package)
            if self.named is not None:
                for path, fault in old_rpm_faults(list(paths)):
                    yield f"{paths[path].href}: {fault}: rpm 4.11 does not know it"
            aside = self.tmp / f"keys-{start}"
            aside.mkdir()
            for path, fault in signature_faults(list(paths), self.keys, aside).items():
                untrusted = fault in ("not signed", FOREIGN)
                yield Fault(f"{paths[path].href}: {fault}", UntrustedError if untrusted else VerifyError)

    def _modules(self, path: Path | None, packages: Sequence[ListedPackage]) -> ModuleIndex | None:
        if path is None:
            return None
        try:
            data = gzip.decompress(path.read_bytes()) if path.suffix == ".gz" else path.read_bytes()
        except (OSError, EOFError) as exc:
            self.faults.append(f"modules.yaml: cannot be unpacked: {exc}")
            return None
        fault = modulemd_fault(data)
        if fault is not None:
            self.faults.append(f"modules.yaml: {fault}")
        index, faults = read_modules(data)
        self.faults.extend(faults)
        if index is not None:
            self.faults.extend((*module_faults(index, packages, RELEASE), *release_faults(index)))
        return index


def _kinds(records: Sequence[MetadataRecord]) -> set[str]:
    return {record.type for record in records}


def _is_known(package: ListedPackage, known: Mapping[str, str], states: Mapping[str, os.stat_result]) -> bool:
    return known.get(package.sha256) == str(package.nevra) and states[package.sha256].st_size == package.size


def _file_faults(path: Path, package: ListedPackage) -> Iterator[str]:
    if path.stat().st_size != package.size:
        yield f"{package.href}: has {path.stat().st_size} bytes, the metadata says {package.size}"
    elif file_sha256(path) != package.sha256:
        yield f"{package.href}: checksum differs from the metadata"
    else:
        try:
            found = nevra_of(load_package(path, package.href))
        except RepobuildError as exc:
            yield f"{package.href}: {exc.message}"
            return
        if found != package.nevra:
            yield f"{package.href}: is {found}, the metadata says {package.nevra}"
