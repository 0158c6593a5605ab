"""Build a generation aside, prove it, make it current by one rename (docs/adr/0007-publication.md)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from builder.errors import PublishError, ToolError
from builder.model.cells import Artifact
from builder.model.matrix import Delivery
from builder.model.publication import Publication, PublicationContent
from builder.publish.clients import client_repository
from builder.publish.content_checks import content_faults, reuse_faults
from builder.publish.defaults import check_default
from builder.publish.errata import updateinfo_of
from builder.publish.generations import FORMER_GENERATIONS, RECORD, Repository
from builder.publish.in_flight import former_files
from builder.publish.issue import is_due, issue
from builder.publish.key_files import check_key, key_files
from builder.publish.manifest import Terms
from builder.publish.modulemd import modules_yaml
from builder.publish.trees import stream_rows, write_trees
from builder.store.files import link_file, sync_path, sync_tree, write_atomic
from builder.tools.createrepo import modulemd_fault, read_primary, read_repomd, write_metadata
from builder.tools.gpg import fingerprint_of

FORMAT = 1  # of publication.json; part of every digest


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
) -> Publication:
    """Make ``content`` the current publication of its distribution × arch.

    Its digest, and so its folder, follows from content, epoch and keys. Equal content changes nothing, unless its
    manifest has to be renewed by ``terms``. ``sign`` makes the detached signatures of repomd.xml and the manifest;
    ``other_keys`` are public keys that clients are told of besides, former and coming ones (ADR 0026). ``check`` looks
    at the finished generation before anyone sees it, and what it raises keeps the current one. ``base_url`` is where
    clients find ``repo`` (default: the folder itself). Files of ``former`` generations stay at their addresses for
    clients that have read their index already.

    Raises PublishError naming every culprit; whatever is raised, the current publication is untouched.
    """
    subject = f"{content.distribution}/{content.arch}"
    faults = list(content_faults(content))
    if faults:
        raise PublishError(f"{subject}: cannot be published: {faults[0]}", details=faults)
    modules = modules_yaml(content) if content.delivery is Delivery.MODULAR else None
    key = fingerprint_of(public_key)
    keys = key_files(public_key, other_keys)
    record = _record(content, modules, key, epoch, keys)
    digest = hashlib.sha256(record).hexdigest()
    repository = Repository(repo)
    with repository.writing():
        current = repository.current(content.distribution, content.arch)
        if current is not None:
            check_default(content, repository.place(current))
        if digest != current or not repository.place(digest).is_dir():
            _check_reuse(repository, content, subject)
            check_key(repository, key, subject)
            if not repository.place(digest).is_dir():
                _build(repository, content, modules, record, digest, sign=sign, epoch=epoch, check=check)
            elif check is not None:
                check(repository.place(digest))
        for name, data in keys.items():
            write_atomic(repository.root / name, data)
        write_atomic(
            repository.root / f"{content.distribution}.repo",
            client_repository(
                content.module,
                content.distribution,
                content.delivery,
                base_url or repository.root.as_uri(),
                key_names=tuple(keys),
            ).text.encode(),
        )
        repository.keep_reachable(content.distribution, content.arch, digest, former)
        renewed = is_due(repository, content.distribution, content.arch, digest, key, terms)
        if renewed:
            issue(repository, content.distribution, content.arch, digest, key=key, sign=sign, terms=terms)
        if digest != current:
            repository.switch(content.distribution, content.arch, digest)
        return Publication(
            digest=digest,
            distribution=content.distribution,
            arch=content.arch,
            path=repository.place(digest),
            current=repository.current_link(content.distribution, content.arch),
            packages=len(packages_of(content)),
            changed=digest != current,
            renewed=renewed,
        )


def packages_of(content: PublicationContent) -> dict[str, Artifact]:
    """Binary RPMs by their place in the repository; an RPM of several streams stands there once."""
    found = {a.nevra.filename: a for part in content.streams for a in part.artifacts}
    return {_place(artifact): artifact for _, artifact in sorted(found.items())}


def _place(artifact: Artifact) -> str:
    name = artifact.nevra.filename
    return f"Packages/{name[0].lower()}/{name}"


def _all_of(content: PublicationContent) -> dict[str, Artifact]:
    sources = {f"SRPMS/{a.nevra.filename}": a for a in content.sources}
    return {**packages_of(content), **dict(sorted(sources.items()))}


def _record(
    content: PublicationContent, modules: bytes | None, fingerprint: str, epoch: int, keys: Mapping[str, bytes]
) -> bytes:
    """publication.json: canonical JSON of everything that determines the generation's bytes."""
    document = {
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
            for href, artifact in _all_of(content).items()
        ],
    }
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _streams(content: PublicationContent) -> dict[str, object]:
    return {"delivery": content.delivery.value, "streams": stream_rows(content)}


def _check_reuse(repository: Repository, content: PublicationContent, subject: str) -> None:
    files = {artifact.nevra.filename: artifact.sha256 for artifact in _all_of(content).values()}
    earlier = {g.digest: g.files for g in repository.find(content.distribution, content.arch)}
    current = repository.current(content.distribution, content.arch)
    if current is not None:  # what clients in flight may still fetch, though the generation itself is gone
        kept = former_files(repository.place(current)).items()
        earlier[f"{current} (former)"] = {href.rpartition("/")[2]: sha256 for href, sha256 in kept}
    faults = list(reuse_faults(files, earlier))
    if faults:
        raise PublishError(
            f"{subject}: {faults[0]}",
            details=faults,
            hint="a changed RPM needs a higher serial; what is re-signed needs a new --repo",
        )


def _build(
    repository: Repository,
    content: PublicationContent,
    modules: bytes | None,
    record: bytes,
    digest: str,
    *,
    sign: Callable[[Path], bytes],
    epoch: int,
    check: Callable[[Path], object] | None,
) -> None:
    """Fill a folder aside, prove it, and rename it to its digest."""
    subject = f"{content.distribution}/{content.arch}"
    fault = modulemd_fault(modules) if modules is not None else None
    if fault is not None:
        raise PublishError(f"{subject}: libmodulemd refuses the module documents: {fault}")
    expected = _all_of(content)
    with repository.aside() as folder:
        for href, artifact in expected.items():
            try:
                link_file(artifact.path, folder / href)
            except FileNotFoundError as exc:
                raise PublishError(f"{artifact.nevra}: {artifact.path} is not there") from exc
        try:
            if content.delivery is Delivery.BRANCH_REPOS:
                written = write_trees(folder, content, _place, epoch=epoch)
            else:
                errata = updateinfo_of(content)
                written = [write_metadata(folder, list(expected), modules, epoch=epoch, updateinfo=errata)]
        except ToolError as exc:
            raise PublishError(f"{subject}: {exc.message}") from exc
        for repomd in written:
            _check_listed(repomd, expected)
            repomd.with_suffix(".xml.asc").write_bytes(sign(repomd))
        for name, data in content.files:
            (folder / name).write_bytes(data)
        (folder / RECORD).write_bytes(record)
        for path in folder.rglob("*"):  # whatever the umask: a web server of another user reads it
            path.chmod(0o755 if path.is_dir() else 0o644)
        if check is not None:
            check(folder)
        sync_tree(folder)
        folder.rename(repository.place(digest))
        sync_path(repository.generations)


def _check_listed(repomd: Path, expected: dict[str, Artifact]) -> None:
    """What createrepo_c read from the files must be what we were told: the store may have rotted meanwhile."""
    (primary,) = (r for r in read_repomd(repomd) if r.type == "primary")
    for listed in read_primary(repomd.parents[1] / primary.href):
        artifact = expected[listed.href]
        if listed.sha256 != artifact.sha256 or listed.size != artifact.size:
            raise PublishError(f"{artifact.path}: its bytes are not those that were signed")
        if listed.nevra != artifact.nevra:
            raise PublishError(f"{artifact.path}: is {listed.nevra}, was said to be {artifact.nevra}")
