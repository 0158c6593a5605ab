"""The packages in no stream of a module: releases of the one that brings the repository to a host (ADR 0035).

Every host sees them, whatever stream it has: what is an artifact of no module is outside of modular filtering, as long
as no stream that is enabled has a package of that name, or one whose name it provides. No switch names them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery
from builder.model.naming import RELEASE_FILE
from builder.model.publication import PublicationContent, armored_keys
from builder.publish.module_checks import ModuleIndex
from builder.store.files import link_file
from builder.tools.rpms import extract_members, read_header

RELEASE = PackageKind.RELEASE.value
_KEYS, _REPOSITORIES = "/etc/pki/rpm-gpg/", "/etc/yum.repos.d/"


def place_release(folder: Path, content: PublicationContent) -> None:
    """Give the newest release package of a generation that has its pool the address that admins are told."""
    newest = max(content.beside, key=lambda a: a.nevra.evr, default=None)
    if newest is not None:
        link_file(newest.path, folder / RELEASE_FILE)


def beside_faults(content: PublicationContent) -> Iterator[str]:
    """What hosts would see all of the time and must not, or would not see with some stream. Pure."""
    if content.beside and content.delivery is not Delivery.MODULAR:
        yield f"{content.beside[0].nevra}: in no stream, where streams are not module streams"
    for artifact in content.beside:
        if artifact.nevra.name != RELEASE:
            yield f"{artifact.nevra}: in no stream, so every host would see it"
    for part in content.streams if content.delivery is Delivery.MODULAR else ():
        hidden = next((a for a in part.artifacts if a.nevra.name == RELEASE), None)
        if hidden is not None:
            yield f"stream {part.stream.name}: {hidden.nevra} would hide the repository's own from its hosts"


def release_faults(index: ModuleIndex) -> Iterator[str]:
    """As ``beside_faults``, of a publication that is looked at."""
    for stream in index.streams:
        for artifact in sorted(a for a in stream.artifacts if a.rsplit("-", 2)[0] == RELEASE):
            yield f"stream {stream.name}: {artifact} hides the repository's own from its hosts"


def kept_releases(own: Sequence[Artifact], published: Sequence[Artifact], limit: int) -> tuple[Artifact, ...]:
    """``own`` and those that were published before, the newest ``limit``, for ``dnf history undo``; oldest first.

    Not one of another address: a repository that moved is not gone back to. Nor one that brings a key which the newest
    does not bring any more: what that key signed has to leave with it.
    """
    found = {str(a.nevra): a for a in (*published, *own) if a.nevra.name == RELEASE}
    ordered = sorted(found.values(), key=lambda a: a.nevra.evr)
    if len(ordered) < 2:
        return tuple(ordered)
    address, keys = _told(ordered[-1])
    told = ((a, *_told(a)) for a in ordered[:-1])
    former = [a for a, its_address, its_keys in told if its_address == address and its_keys <= keys]
    return (*former[-limit:], ordered[-1])


def _told(rpm: Artifact) -> tuple[list[bytes], set[str]]:
    """The .repo file and the keys that a release package brings."""
    files = extract_members(rpm.path, read_header(rpm.path).files)
    repository = [data for path, data in sorted(files.items()) if path.startswith(_REPOSITORIES)]
    return repository, {key for path, data in files.items() if path.startswith(_KEYS) for key in armored_keys(data)}
