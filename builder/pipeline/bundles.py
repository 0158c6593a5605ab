"""Make and place bundles: publications for sites without a network."""

from __future__ import annotations

import hashlib
import json
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from builder.errors import BundleError
from builder.model.publication import Publication
from builder.publish import (
    Manifest,
    Repository,
    Terms,
    find_generation,
    is_newest,
    issue,
    issue_part,
    lifetime_of,
    open_tar,
    select,
    told_keys,
    trusted_manifest,
    unbundle,
    write_bundle,
    write_selection,
)
from builder.publish.record import RECORD
from builder.sign import Signer


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundled:
    """What a bundle holds."""

    digest: str
    streams: tuple[str, ...]
    files: int  # of the publication
    carried: int  # of these in the bundle itself
    size: int  # bytes of the bundle


def make_bundle(
    repo: Path,
    output: Path,
    distribution: str,
    signer: Signer,
    *,
    arch: str,
    streams: Sequence[str] = (),
    kernels: Sequence[str] = (),
    since: Path | None = None,
) -> Bundled:
    """Write a bundle of the current publication; raises BundleError, PublishError for nothing published."""
    repository = Repository(repo)
    current = repository.current(distribution, arch)
    generation = find_generation(repo, distribution, arch, current or "-")
    record = json.loads((generation.path / RECORD).read_bytes())
    if record["key"] != signer.fingerprint:
        raise BundleError(
            f"{distribution}/{arch} is signed by {record['key']}, not by {signer.fingerprint}",
            hint="--gnupghome and --signing-key of the publication",
        )
    selection = select(generation, streams, kernels)
    epoch = int(record["epoch"])

    def sign(data: bytes) -> bytes:
        (tmp / "to-sign").write_bytes(data)
        return signer.sign_detached(tmp / "to-sign", epoch=epoch)

    with tempfile.TemporaryDirectory() as made, repository.writing(), repository.aside() as folder:
        tmp = Path(made)
        trusted = (signer.public_key(), *told_keys(repository))  # the earlier one may be of a former key
        earlier = _earlier(since, trusted, tmp) if since else None
        digest = generation.digest
        sign_file = partial(signer.sign_detached, epoch=epoch)
        key = signer.fingerprint
        terms = Terms(now=int(time.time()), lifetime=lifetime_of(generation))
        if not selection.whole:
            digest = write_selection(generation, selection, folder, sign_file)
            issue_part(repository, generation, folder, digest, key=key, sign=sign_file, terms=terms)
        elif not is_newest(repository, generation):  # bundles of parts were made since: their sites shall take this one
            issue(repository, distribution, arch, digest, key=key, sign=sign_file, terms=terms)
        manifest = write_bundle(
            generation.path if selection.whole else folder,
            output,
            distribution=distribution,
            arch=arch,
            digest=digest,
            sign=sign,
            since=earlier,
        )
    carried = {file.sha256 for file in manifest.files if file.here}
    return Bundled(
        digest=digest,
        streams=tuple(selection.streams),
        files=len(manifest.files),
        carried=len(carried),
        size=output.stat().st_size,
    )


def _earlier(path: Path, public_keys: Sequence[bytes], tmp: Path) -> tuple[Manifest, str]:
    with open_tar(path) as tar:
        manifest, data = trusted_manifest(tar, path, public_keys, tmp)
        return manifest, hashlib.sha256(data).hexdigest()


def place_bundle(path: Path, repo: Path, key_paths: Sequence[Path], base_url: str | None) -> Publication:
    """Place a bundle; ``key_paths`` are public keys to trust beside those that clients of ``repo`` were told of."""
    return unbundle(path, repo, [key.read_bytes() for key in key_paths], base_url)
