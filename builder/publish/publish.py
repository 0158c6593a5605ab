"""Build a generation aside, prove it, make it current by one rename (docs/adr/0007-publication.md)."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import PublishError, ToolError
from builder.model.cells import Artifact
from builder.model.matrix import Delivery
from builder.model.publication import Publication, PublicationContent
from builder.publish.beside import place_release
from builder.publish.client_files import write_client_files
from builder.publish.content_checks import content_faults, reuse_faults
from builder.publish.defaults import check_default
from builder.publish.errata import updateinfo_of
from builder.publish.generations import FORMER_GENERATIONS, Repository
from builder.publish.in_flight import former_files
from builder.publish.issue import renew
from builder.publish.key_files import check_key, key_files
from builder.publish.manifest import Terms
from builder.publish.modulemd import modules_yaml
from builder.publish.record import RECORD, know_record
from builder.publish.trees import stream_rows, write_trees
from builder.store import Derived
from builder.store.files import sync_path
from builder.tools.createrepo import modulemd_fault, write_metadata
from builder.tools.gpg import fingerprint_of

FORMAT = 2  # of publication.json; part of every digest


def publish(
    content: PublicationContent,
    repo: Path,
    *,
    public_key: bytes,
    sign: Callable[[Path], bytes],
    epoch: int,
    terms: Terms,
    base_url: str | None = None,
    check: Callable[[Path], object] | None = None,
    other_keys: Sequence[bytes] = (),
    former: int = FORMER_GENERATIONS,
    derived: Derived | None = None,
) -> Publication:
    """Make ``content`` the current publication of its distribution × arch.

    Its digest, and so its folder, follows from content, epoch and keys. Equal content changes nothing, unless its
    manifest has to be renewed by ``terms``. ``sign`` makes the detached signatures of repomd.xml and the manifest;
    ``other_keys`` are public keys that clients are told of besides, former and coming ones (ADR 0026). ``check`` looks
    at the finished generation before anyone sees it, and what it raises keeps the current one. ``base_url`` is where
    clients find ``repo`` (default: the folder itself). Files of ``former`` generations stay at their addresses for
    clients that have read their index already. What ``derived`` holds of packages that were published before is not
    made again; the bytes are the same without.

    Raises PublishError naming every culprit; whatever is raised, the current publication is untouched.
    """
    planned = _planned(content, public_key, other_keys, epoch)
    repository = Repository(repo)
    with repository.writing():
        current = repository.current(content.distribution, content.arch)
        if current is not None and repository.place(current).is_dir():  # a lost one is made again
            check_default(content, repository.place(current))
        place = repository.place(planned.digest)
        if planned.digest != current or not place.is_dir():
            _check_reuse(repository, planned)
            check_key(repository, planned.key, planned.subject)
            if not place.is_dir():
                _build(repository, planned, sign=sign, check=check, derived=Derived() if derived is None else derived)
            elif check is not None:
                check(place)
        write_client_files(repository, content.module, content.distribution, content.delivery, planned.keys, base_url)
        repository.keep_reachable(content.distribution, content.arch, planned.digest, former)
        sizes = {href: artifact.size for href, artifact in planned.expected.items()}
        at = (content.distribution, content.arch, planned.digest)
        renewed = renew(repository, *at, key=planned.key, sign=sign, terms=terms, sizes=sizes)
        if planned.digest != current:
            repository.switch(content.distribution, content.arch, planned.digest)
        return Publication(
            digest=planned.digest,
            distribution=content.distribution,
            arch=content.arch,
            path=place,
            current=repository.current_link(content.distribution, content.arch),
            packages=len(planned.expected) - len(content.sources),
            changed=planned.digest != current,
            renewed=renewed,
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class _Planned:
    """A publication before anything of it is on the disk, and what its name follows from."""

    content: PublicationContent
    expected: Mapping[str, Artifact]  # RPMs by their place
    modules: bytes | None  # documents, where it is delivered as streams of a module
    key: str  # fingerprint
    keys: Mapping[str, bytes]  # by file name
    epoch: int
    document: dict[str, Any]  # what determines the generation's bytes
    record: bytes  # publication.json: it as canonical JSON
    digest: str

    @property
    def subject(self) -> str:
        """What errors are about."""
        return f"{self.content.distribution}/{self.content.arch}"


def _planned(content: PublicationContent, public_key: bytes, other_keys: Sequence[bytes], epoch: int) -> _Planned:
    """Raises PublishError for a content that contradicts itself."""
    faults = list(content_faults(content))
    if faults:
        subject = f"{content.distribution}/{content.arch}"
        raise PublishError(f"{subject}: cannot be published: {faults[0]}", details=faults)
    modules = modules_yaml(content) if content.delivery is Delivery.MODULAR else None
    expected = _all_of(content)
    key = fingerprint_of(public_key)
    keys = key_files(public_key, other_keys)
    document = _document(content, expected, modules, key, epoch, keys)
    # Without indentation: only so does Python's json work in C, ten times as fast.
    record = (json.dumps(document, sort_keys=True) + "\n").encode()
    return _Planned(
        content=content,
        expected=expected,
        modules=modules,
        key=key,
        keys=keys,
        epoch=epoch,
        document=document,
        record=record,
        digest=hashlib.sha256(record).hexdigest(),
    )


def _place(artifact: Artifact) -> str:
    name = artifact.nevra.filename
    return f"Packages/{name[0].lower()}/{name}"


def _all_of(content: PublicationContent) -> dict[str, Artifact]:
    """RPMs by their place in the repository; one of several streams stands there once."""
    found = {_place(a): a for artifacts in (*(p.artifacts for p in content.streams), content.beside) for a in artifacts}
    sources = {f"SRPMS/{a.nevra.filename}": a for a in content.sources}
    return {**dict(sorted(found.items())), **dict(sorted(sources.items()))}


def _document(
    content: PublicationContent,
    expected: Mapping[str, Artifact],
    modules: bytes | None,
    fingerprint: str,
    epoch: int,
    keys: Mapping[str, bytes],
) -> dict[str, Any]:
    """Everything that determines the generation's bytes."""
    return {
        "format": FORMAT,
        "module": content.module,
        "distribution": content.distribution,
        "platform": content.platform,
        "arch": content.arch,
        "key": fingerprint,
        **({"keys": {n: fingerprint_of(data) for n, data in keys.items()}} if len(keys) > 1 else {}),
        "epoch": epoch,
        **({"modules": hashlib.sha256(modules).hexdigest()} if modules is not None else _streams(content)),
        **({"updateinfo": hashlib.sha256(errata).hexdigest()} if (errata := updateinfo_of(content)) else {}),
        "files": {name: hashlib.sha256(data).hexdigest() for name, data in content.files},
        "packages": [
            {"file": href, "nevra": artifact.nevra.artifact, "sha256": artifact.sha256}
            for href, artifact in expected.items()
        ],
    }


def _streams(content: PublicationContent) -> dict[str, object]:
    return {"delivery": content.delivery.value, "streams": stream_rows(content)}


def _check_reuse(repository: Repository, planned: _Planned) -> None:
    content = planned.content
    files = {href.rpartition("/")[2]: artifact.sha256 for href, artifact in planned.expected.items()}
    earlier: dict[str, Mapping[str, str]] = {}
    for generation in repository.find(content.distribution, content.arch):
        earlier[generation.digest] = generation.files
        # What clients in flight may still fetch, though the generation that it is of is gone.
        kept = former_files(generation.path).items()
        earlier[f"{generation.digest} (former)"] = {href.rpartition("/")[2]: sha256 for href, sha256 in kept}
    faults = list(reuse_faults(files, earlier))
    if faults:
        raise PublishError(
            f"{planned.subject}: {faults[0]}",
            details=faults,
            hint="a changed RPM needs a higher serial; what is re-signed needs a new --repo",
        )


def _build(
    repository: Repository,
    planned: _Planned,
    *,
    sign: Callable[[Path], bytes],
    check: Callable[[Path], object] | None,
    derived: Derived,
) -> None:
    """Fill a folder aside, prove it, and rename it to its digest."""
    content, expected = planned.content, planned.expected
    with repository.aside() as folder, ThreadPoolExecutor(max_workers=1) as beside:
        fault = beside.submit(modulemd_fault, planned.modules) if planned.modules is not None else None
        pool = repository.pool(content.distribution, content.arch, planned.key)
        pool.share(folder)
        current = repository.current(content.distribution, content.arch)
        pool.fill(expected, derived, repository.place(current) if current is not None else None)
        try:
            written = _metadata(folder, planned, derived)
        except ToolError as exc:
            raise PublishError(f"{planned.subject}: {exc.message}") from exc
        if fault is not None and (said := fault.result()) is not None:
            raise PublishError(f"{planned.subject}: libmodulemd refuses the module documents: {said}")
        for repomd in written:
            repomd.with_suffix(".xml.asc").write_bytes(sign(repomd))
        for name, data in content.files:
            (folder / name).write_bytes(data)
        (folder / RECORD).write_bytes(planned.record)
        _make_durable(folder)
        if check is not None:
            check(folder)
        folder.rename(repository.place(planned.digest))
        know_record(repository.place(planned.digest), planned.document)
        sync_path(repository.generations)


def _metadata(folder: Path, planned: _Planned, derived: Derived) -> list[Path]:
    """Every repomd.xml of the publication."""
    content, epoch = planned.content, planned.epoch
    if content.delivery is Delivery.BRANCH_REPOS:
        return write_trees(folder, content, _place, epoch=epoch, derived=derived)
    known = {href: artifact.sha256 for href, artifact in planned.expected.items()}
    errata, hrefs, modules = updateinfo_of(content), list(known), planned.modules
    place_release(folder, content)
    return [write_metadata(folder, hrefs, modules, epoch=epoch, updateinfo=errata, known=known, derived=derived)]


def _make_durable(folder: Path) -> None:
    """Modes for a web server of another user, whatever the umask, and fsync; the pool cares for its own."""
    for top, _folders, files in os.walk(folder):
        place = Path(top)
        for path in (place / name for name in files):
            if not path.is_symlink():
                path.chmod(0o644)
                sync_path(path)
        place.chmod(0o755)
        sync_path(place)
