"""Place what a bundle carries: everything is looked at first, then one rename makes it current."""

from __future__ import annotations

import hashlib
import json
import tarfile
from pathlib import Path

from builder.errors import BundleError
from builder.model.matrix import Delivery
from builder.model.publication import Publication
from builder.publish.bundle import FILES, BundledFile, Manifest, open_tar, trusted_manifest
from builder.publish.clients import KEY_FILE, client_repository
from builder.publish.content_checks import reuse_faults
from builder.publish.generations import Generation, Repository, read_generation
from builder.publish.in_flight import FORMER
from builder.publish.integrity import verify_integrity
from builder.publish.issue import files_below
from builder.publish.manifest import MANIFEST, read_manifest, signature_name
from builder.publish.record import RECORD
from builder.publish.trees import POOL_LINK, STREAMS
from builder.publish.verify import verify_publication
from builder.store.files import link_file, sync_path, sync_tree, write_atomic
from builder.tools.gpg import fingerprint_of
from builder.tools.rpms import file_sha256

_CHUNK = 1 << 20  # bytes
_AGAIN = "copy it again; nothing was placed"


def unbundle(path: Path, repo: Path, public_key: bytes, base_url: str | None = None) -> Publication:
    """Make what a bundle carries the current publication of its distribution × arch in ``repo``.

    Only what ``public_key`` signed is taken: manifest, metadata, every RPM. What an earlier bundle brought comes from
    the generations that are there. Raises BundleError or VerifyError; whatever is raised, nothing was placed.
    """
    repository = Repository(repo)
    with repository.writing(), repository.aside() as aside, open_tar(path) as tar:
        manifest, _ = trusted_manifest(tar, path, public_key, aside)
        known = repository.find(manifest.distribution, manifest.arch)
        _check_key(repository, public_key)
        data = aside / "data"
        data.mkdir()
        _extract(tar, manifest, data, path)
        _take_earlier(manifest, known, data, path)
        folder = aside / manifest.digest
        generation = _assemble(manifest, data, folder, path)
        _check_reuse(generation, known)
        looking = aside / "look"
        looking.mkdir()
        packages = _check(folder, public_key, looking)
        place = repository.place(manifest.digest)
        if not place.is_dir():
            sync_tree(folder)
            folder.rename(place)
            sync_path(repository.generations)
        else:
            _renew(folder, place)
        before = repository.current(manifest.distribution, manifest.arch)
        write_atomic(repository.root / KEY_FILE, public_key)
        _write_client(repository, place, manifest, base_url)
        if before != manifest.digest:
            repository.switch(manifest.distribution, manifest.arch, manifest.digest)
        return Publication(
            digest=manifest.digest,
            distribution=manifest.distribution,
            arch=manifest.arch,
            path=place,
            current=repository.current_link(manifest.distribution, manifest.arch),
            packages=packages,
            changed=before != manifest.digest,
        )


def _check_key(repository: Repository, public_key: bytes) -> None:
    there = repository.root / KEY_FILE
    if there.is_file() and fingerprint_of(there.read_bytes()) != fingerprint_of(public_key):
        raise BundleError(f"{there}: its clients trust another key", hint="unbundle to another --repo")


def _extract(tar: tarfile.TarFile, manifest: Manifest, data: Path, path: Path) -> None:
    """Every member is one that the manifest names, with its bytes, and none is missing."""
    expected = {file.sha256: file.size for file in manifest.files if file.here}
    missing = set(expected)
    while (member := tar.next()) is not None:
        sha256 = member.name.removeprefix(f"{FILES}/")
        if not member.isfile() or sha256 not in missing or member.size != expected[sha256]:
            raise BundleError(f"{path}: {member.name!r} is not what its manifest names", hint=_AGAIN)
        source, digest = tar.extractfile(member), hashlib.sha256()
        with (data / sha256).open("wb") as file:
            while source is not None and (chunk := source.read(_CHUNK)):
                digest.update(chunk)
                file.write(chunk)
        if digest.hexdigest() != sha256:
            raise BundleError(f"{path}: {member.name}: damaged, its bytes have another digest", hint=_AGAIN)
        missing.discard(sha256)
    if missing:
        raise BundleError(f"{path}: damaged: {len(missing)} of its {len(expected)} files are missing", hint=_AGAIN)


def _take_earlier(manifest: Manifest, known: tuple[Generation, ...], data: Path, path: Path) -> None:
    """What this bundle leaves out, from the generations that are there; each file's bytes are looked at."""
    missing: list[BundledFile] = []
    for file in manifest.files:
        if file.here or (data / file.sha256).exists():
            continue
        for source in (generation.path / file.path for generation in known):
            if source.is_file() and source.stat().st_size == file.size and file_sha256(source) == file.sha256:
                link_file(source, data / file.sha256)
                break
        else:
            missing.append(file)
    if missing:
        raise BundleError(
            f"{path}: {len(missing)} files are to come from an earlier bundle and are not there",
            details=[file.path for file in missing],
            hint="unbundle the earlier one first (it is named by --since where this one was made), or make one without",
        )


def _assemble(manifest: Manifest, data: Path, folder: Path, path: Path) -> Generation:
    folder.mkdir(mode=0o755)
    for file in manifest.files:
        link_file(data / file.sha256, folder / file.path)
    for name in manifest.trees:
        (folder / STREAMS / name / "Packages").symlink_to(POOL_LINK)
    for item in folder.rglob("*"):
        if not item.is_symlink():
            item.chmod(0o755 if item.is_dir() else 0o644)
    record = folder / RECORD
    if not record.is_file() or file_sha256(record) != manifest.digest:
        raise BundleError(f"{path}: its {RECORD} is not that of generation {manifest.digest[:12]}", hint=_AGAIN)
    generation = read_generation(folder)
    if (generation.distribution, generation.arch) != (manifest.distribution, manifest.arch):
        raise BundleError(f"{path}: its {RECORD} is of {generation.distribution}/{generation.arch}", hint=_AGAIN)
    return generation


def _check(folder: Path, public_key: bytes, tmp: Path) -> int:
    """Look at all of it as ``verify`` does; returns how many packages there are.

    Not at the date: the way may have been long, and whoever looks at the place is told. What versions without manifests
    bundled has none; its files are those of the bundle's.
    """
    if not (folder / MANIFEST).is_file():
        return verify_publication(folder.as_uri(), public_key, tmp).packages
    content = verify_integrity(folder.as_uri(), [public_key], tmp, now=0).content
    return content.packages if content is not None else 0


def _renew(folder: Path, place: Path) -> None:
    """Give a generation that was placed before the manifest that a bundle brings, and the files that this one lists.

    As when one is issued: files, the signature, then the manifest by one rename. What only the former one listed goes.
    A bundle that is older than what is there brings nothing.
    """
    if not (folder / MANIFEST).is_file():
        return
    data = (folder / MANIFEST).read_bytes()
    former = (place / MANIFEST).read_bytes() if (place / MANIFEST).is_file() else None
    if former is not None and read_manifest(former).sequence >= read_manifest(data).sequence:
        return
    names = {name for name, _entry in files_below(folder)}
    if (folder / FORMER).is_file():  # it says which RPMs of others the manifest lists: they stay in a pool
        write_atomic(place / FORMER, (folder / FORMER).read_bytes())
    for name in (*sorted(names), signature_name(data)):
        if not (place / name).exists():
            link_file(folder / name, place / name)
            sync_path((place / name).parent)
    write_atomic(place / MANIFEST, data)
    kept = {MANIFEST, signature_name(data), *((signature_name(former),) if former is not None else ())}
    for path in place.glob(f"{Path(MANIFEST).stem}.*"):
        if path.name not in kept:
            path.unlink()
    for name, _entry in list(files_below(place)):
        if name not in names:
            (place / name).unlink()
    sync_path(place)


def _check_reuse(generation: Generation, known: tuple[Generation, ...]) -> None:
    faults = list(reuse_faults(generation.files, {g.digest: g.files for g in known}))
    if faults:
        raise BundleError(faults[0], details=faults, hint="nothing was placed; unbundle to another --repo")


def _write_client(repository: Repository, place: Path, manifest: Manifest, base_url: str | None) -> None:
    record = json.loads((place / RECORD).read_bytes())
    delivery = Delivery(record.get("delivery", Delivery.MODULAR.value))
    base = base_url or repository.root.as_uri()
    told = client_repository(str(record["module"]), manifest.distribution, delivery, base)
    write_atomic(repository.root / f"{manifest.distribution}.repo", told.text.encode())
