"""A publication to S3-compatible storage: one flat tree, in an order in which nothing is named before it is there.

Packages and digest-named metadata are created, never overwritten, so that a former publication stays whole beside the
new one until it expires; then pages; then each tree's repomd.xml.asc and repomd.xml, one right behind the other; then
the record. S3 cannot switch two objects at once: between these two writes a client's signature check refuses, it never
takes a mixture. A failure there puts the former signature back.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

from builder.errors import TargetError
from builder.publish.clients import KEY_FILE
from builder.publish.generations import Generation, Repository
from builder.publish.manifest import MANIFEST, SITE, is_of_manifest, signature_name
from builder.publish.order import Role, cache_control, is_immutable, role_of, upload_order
from builder.publish.pushed import Pushed, refuse_other_bytes
from builder.publish.target_state import TargetState, read_state, state_name, write_state
from builder.publish.tree_files import flat_files, root_files
from builder.store.bucket import Bucket, PlaceError, Versioned
from builder.tools.rpms import file_sha256

_AT_ONCE = 8  # uploads of packages
_TRIES = 3  # of repomd.xml, once its signature is there
_PAUSE = 1.0  # seconds between them


class S3Target:
    """One prefix of a bucket; ``step`` is told before each thing that changes it."""

    def __init__(self, url: str, bucket: Bucket, *, step: Callable[[str], object] = lambda _: None) -> None:
        self.url = url
        self._bucket = bucket
        self._step = step

    def push(self, repository: Repository, generation: Generation, *, now: float, keep: float) -> Pushed:
        """Make a generation the current one there; see ``pipeline.push``. Call while ``repository.writing``."""
        self._check_key(repository)
        prefix = f"{generation.distribution}/{generation.arch}/"
        files = {f"{prefix}{name}": path for name, path in flat_files(generation.path).items()}
        fixed = _digests(generation, files, prefix)
        version, state = self._state(generation)
        changed = state.current != generation.digest
        with self._failures("be listed"):
            sizes = self._bucket.sizes()
        stale = {name for name in sizes if _may_go(name, prefix)} - self._signatures(prefix)
        missing = self._missing(files, fixed, state, sizes)
        expired = state.expired(now, keep)
        state = state.begin(generation.digest, fixed)
        version = self._put_state(generation, state, version)
        self._put_packages({name: files[name] for name in upload_order(missing)}, fixed)
        rest = upload_order(name for name in files if name not in fixed)
        roots = root_files(repository.root)
        self._put_logs({name: path for name, path in roots.items() if role_of(name) is Role.LOG})
        early = {name: path for name, path in roots.items() if role_of(name) is Role.PAGE}
        self._put_all({**early, **{n: files[n] for n in rest}})
        late = upload_order(name for name in roots if role_of(name) is Role.RECORD)
        self._put_all({name: roots[name] for name in late})
        self._withdraw(stale - roots.keys() - files.keys())
        state = state.switched(generation.digest, now)
        version = self._put_state(generation, state, version)
        self._remove(generation, state, tuple(d for d in expired if d != generation.digest), version)
        former = {path for sent in state.generations.values() for path in sent.files} - set(fixed)
        return Pushed(
            target=self.url,
            distribution=generation.distribution,
            arch=generation.arch,
            digest=generation.digest,
            changed=changed,
            kept_files=len(former),
            removed=len(expired),
        )

    def _check_key(self, repository: Repository) -> None:
        with self._failures("be read"):
            theirs = self._bucket.read(KEY_FILE)
        if theirs is not None and theirs != (repository.root / KEY_FILE).read_bytes():
            raise TargetError(
                f"{self.url}: its {KEY_FILE} holds another key than this repository's",
                hint="its clients trust that one: push to another target, or publish under that key",
            )

    def _missing(
        self, files: Mapping[str, Path], fixed: Mapping[str, str], state: TargetState, sizes: Mapping[str, int]
    ) -> list[str]:
        """Packages and metadata that have to be sent; raises TargetError for a name with other bytes there."""
        faults, missing = [], []
        for name, sha256 in fixed.items():
            known = {sent.files[name] for sent in state.generations.values() if name in sent.files}
            if known - {sha256}:
                faults.append(f"{name}: the target had this file name with other bytes")
            elif name not in sizes:
                missing.append(name)
            elif sizes[name] != files[name].stat().st_size or (not known and self._digest(name) != sha256):
                faults.append(f"{name}: the target has this file name with other bytes")
        refuse_other_bytes(self.url, faults)
        return missing

    def _put_packages(self, files: Mapping[str, Path], fixed: Mapping[str, str]) -> None:
        """Several at a time, each compared with its record before it goes; metadata after the packages they name."""
        for role in (Role.PACKAGE, Role.METADATA):
            names = [name for name in files if role_of(name) is role]
            pool = ThreadPoolExecutor(_AT_ONCE)
            try:
                list(pool.map(lambda name: self._create(name, files[name], fixed[name]), names))
            finally:
                pool.shutdown(cancel_futures=True)

    def _signatures(self, prefix: str) -> set[str]:
        """Of the manifests that stand there now: who has just fetched one of them asks for its signature next."""
        places = {MANIFEST: prefix, SITE: ""}
        with self._failures("be read"):
            found = {name: self._bucket.read(f"{folder}{name}") for name, folder in places.items()}
        return {f"{places[name]}{signature_name(data, name)}" for name, data in found.items() if data is not None}

    def _put_logs(self, files: Mapping[str, Path]) -> None:
        """What the page beside them will link to, several at a time."""
        pool = ThreadPoolExecutor(_AT_ONCE)
        try:
            list(pool.map(lambda name: self._put_all({name: files[name]}), files))
        finally:
            pool.shutdown(cancel_futures=True)

    def _withdraw(self, names: Collection[str]) -> None:
        if names:
            self._step("withdraw")
            with self._failures("forget old logs"):
                self._bucket.remove(sorted(names))

    def _create(self, name: str, path: Path, sha256: str) -> None:
        if file_sha256(path) != sha256:
            raise TargetError(f"{path}: its bytes are not those that were published", hint="restore it; verify tells")
        self._step(name)
        with self._failures(f"get {name}"):
            made = self._bucket.publish(path, name, sha256=sha256, cache=cache_control(name), create=True)
        if not made and self._digest(name) != sha256:
            refuse_other_bytes(self.url, [f"{name}: somebody else put other bytes there meanwhile"])

    def _put_all(self, files: Mapping[str, Path]) -> None:
        """Files whose bytes change, in the order given; those that are there already are left alone."""
        signature: tuple[str, bytes | None] | None = None
        for name, path in files.items():
            sha256 = file_sha256(path)
            if self._digest(name) == sha256:
                continue
            if role_of(name) is Role.SIGNATURE:
                with self._failures("be read"):
                    signature = name, self._bucket.read(name)
            try:
                self._put_patiently(name, path, sha256)
            except BaseException:
                if role_of(name) is Role.REPOMD and signature is not None and signature[1] is not None:
                    self._put_back(signature[0], signature[1])
                raise

    def _put_patiently(self, name: str, path: Path, sha256: str) -> None:
        self._step(name)
        for attempt in range(_TRIES if role_of(name) is Role.REPOMD else 1):
            try:
                with self._failures(f"get {name}"):
                    self._bucket.publish(path, name, sha256=sha256, cache=cache_control(name))
            except TargetError:
                if role_of(name) is not Role.REPOMD or attempt == _TRIES - 1:
                    raise
                time.sleep(_PAUSE)
            else:
                return

    def _put_back(self, name: str, data: bytes) -> None:
        """The former signature, so that it fits the repomd.xml that stayed; the failure that led here is told."""
        with suppress(PlaceError):
            self._bucket.publish(data, name, sha256="", cache=cache_control(name))

    def _state(self, generation: Generation) -> tuple[Versioned | None, TargetState]:
        name = state_name(generation.distribution, generation.arch)
        with self._failures("be read"):
            found = self._bucket.versioned(name)
        try:
            return found, read_state(found.data if found else None)
        except ValueError as exc:
            raise TargetError(f"{self.url}: {name} {exc}", hint="move it away there") from exc

    def _put_state(self, generation: Generation, state: TargetState, former: Versioned | None) -> Versioned | None:
        name, data = state_name(generation.distribution, generation.arch), write_state(state)
        self._step("state")
        with self._failures("remember what it has"):
            if not self._bucket.replace(name, data, former):
                raise TargetError(f"{self.url}: another machine pushes there now", hint="run again when it has ended")
            return self._bucket.versioned(name)

    def _remove(
        self, generation: Generation, state: TargetState, expired: tuple[str, ...], version: Versioned | None
    ) -> None:
        if not expired:
            return
        self._step("remove")
        with self._failures("forget old generations"):
            self._bucket.remove(state.removable(expired))
        self._put_state(generation, state.without(expired), version)

    def _digest(self, name: str) -> str | None:
        with self._failures("be read"):
            return self._bucket.digest(name)

    @contextmanager
    def _failures(self, what: str) -> Iterator[None]:
        try:
            yield
        except PlaceError as exc:
            raise TargetError(f"{self.url}: cannot {what}: {exc}", hint="push again: it goes on from there") from exc


def _may_go(name: str, prefix: str) -> bool:
    """Logs, and signatures of manifests: of no use once the source has them no more."""
    manifest = is_of_manifest(name, SITE) or is_of_manifest(name.removeprefix(prefix))
    return role_of(name) is Role.LOG or (manifest and name.endswith(".asc"))


def _digests(generation: Generation, files: Mapping[str, Path], prefix: str) -> dict[str, str]:
    """sha256 of the files whose names stand for their bytes: of RPMs as the record says, of metadata by their names."""
    found = {}
    for name in files:
        if is_immutable(name.removeprefix(prefix)):
            file = name.rsplit("/", 1)[-1]
            named = file.partition("-")[0] if role_of(name) is Role.METADATA else None
            # A generation's folder has packages of former ones, too, which its record does not name.
            found[name] = named or generation.files.get(file) or file_sha256(files[name])
    return found
