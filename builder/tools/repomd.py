"""What state a dnf repository is in: the digest of its repomd.xml, which names every other file by digest."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.errors import ToolError
from builder.model.chroots import Chroot, RepositoryRef

_TIMEOUT = (15.0, 60.0)  # seconds: connect, read


def repository_url(repository: RepositoryRef, chroot: Chroot) -> str:
    """The base URL with ``$releasever`` and ``$basearch`` in place, without a trailing slash; a path becomes file://."""
    url = repository.baseurl.replace("$releasever", chroot.releasever).replace("$basearch", chroot.arch)
    return (f"file://{url}" if url.startswith("/") else url).rstrip("/")


def is_local(chroot: Chroot) -> bool:
    """Whether no repository needs the network."""
    return all(repository_url(r, chroot).startswith("file://") for r in chroot.repositories)


def repository_state(chroot: Chroot) -> str:
    """Digest over the repomd.xml of every repository of a chroot; changes when any of them changes.

    Raises ToolError naming the repository that cannot be read.
    """
    digests = [hashlib.sha256(_repomd(r, repository_url(r, chroot))).hexdigest() for r in chroot.repositories]
    return combined_state(chroot, digests)


def combined_state(chroot: Chroot, digests: list[str]) -> str:
    """The state that these digests of repomd.xml, one a repository in the chroot's order, make."""
    named = [[r.id, digest] for r, digest in zip(chroot.repositories, digests, strict=True)]
    return hashlib.sha256(json.dumps(named).encode()).hexdigest()


def _repomd(repository: RepositoryRef, url: str) -> bytes:
    address = f"{url}/repodata/repomd.xml"
    hint = f"check the baseurl of repository {repository.id} in matrix.yaml"
    if address.startswith("file://"):
        try:
            return Path(unquote(urlsplit(address).path)).read_bytes()
        except OSError as exc:
            raise ToolError(f"repository {repository.id}: {address}: {exc}", hint=hint) from exc
    import requests  # noqa: PLC0415  a build's inner side never asks a server, and this would be most of its start

    try:
        response = requests.get(address, timeout=_TIMEOUT)
    except OSError as exc:  # requests' own failures are OSErrors too
        raise ToolError(f"repository {repository.id}: {address}: {exc}", hint=hint) from exc
    if response.status_code != requests.codes.ok:
        raise ToolError(
            f"repository {repository.id}: {address}: HTTP {response.status_code} {response.reason}", hint=hint
        )
    return response.content
