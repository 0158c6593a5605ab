"""Former gates and release packages that a stream keeps, so that ``dnf history undo`` finds what a host had.

A gate is re-released with every kernel that comes, a release package with every driver; undoing a transaction asks for
exactly those that were there before. Only what the current publication holds is looked at: what was never published is
on no host. Kept are (docs/adr/0022-former-gates.md), of each driver that the stream still carries, the newest ones that

* are gates which let in no kernel that the driver's newest gate keeps out, and require nothing that it does not: a host
  on which such a one can be, can have the newest one too, so that no solver gains anything by going back to it;
* or are release packages of the same stream with the very files of the one that is published now.

That of a repository with module streams (ADR 0035), which is in no stream, stays where none was made, and its former
ones with it.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from builder.errors import ToolError
from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery
from builder.model.publication import PublicationContent, StreamContent
from builder.publish.beside import kept_releases
from builder.publish.generations import Generation, Repository, read_generation
from builder.tools.rpms import extract_members, read_artifact, read_header

KEPT = 5  # former ones of a driver in a stream
_GATE, _RELEASE = PackageKind.GATE.value, PackageKind.RELEASE.value
_NAME = re.compile(r"\(?\s*([^\s()]+)")  # what a Conflicts begins with: kernel-core, (kernel-core > … with …)


def with_former(content: PublicationContent, repo: Path) -> PublicationContent:
    """The content with what its streams keep of the current publication in ``repo``; as it is where there is none.

    Nothing is kept for yum, whose gates cannot ask for a module on condition: of those the rule would prove nothing. A
    file of that publication that is damaged is left out: what is published next must not fail because of it.
    """
    repository = Repository(repo)
    current = repository.current(content.distribution, content.arch)
    if current is None or content.delivery is Delivery.BRANCH_PACKAGES or not repository.place(current).is_dir():
        return content
    published = tuple(_published(read_generation(repository.place(current))))
    kept = tuple(_with_former(part, published) for part in content.streams)
    beside = kept_releases(content.beside, published, KEPT) if content.delivery is Delivery.MODULAR else ()
    return replace(content, streams=kept, beside=beside)


def _published(generation: Generation) -> Iterator[Artifact]:
    for filename, sha256 in sorted(generation.files.items()):
        if not filename.startswith((f"{_GATE}-", f"{_RELEASE}-")):
            continue
        try:
            artifact = read_artifact(generation.path / "Packages" / filename[0] / filename)
        except (ToolError, OSError):
            continue
        if artifact.sha256 == sha256 and artifact.nevra.name in (_GATE, _RELEASE):
            yield artifact


def _with_former(part: StreamContent, published: Sequence[Artifact]) -> StreamContent:
    own = [a for a in part.artifacts if a.nevra.name in (_GATE, _RELEASE)]
    kept: list[Artifact] = []
    for version in part.driver_versions:
        for name in (_GATE, _RELEASE):
            like = _like(own, name, version)
            if like is not None:
                here = {str(a.nevra) for a in own}
                found = [a for a in published if (a.nevra.name, a.nevra.evr.version) == (name, version)]
                found = [a for a in found if str(a.nevra) not in here and _may_stay(a, like)]
                kept += sorted(found, key=lambda a: a.nevra.evr)[-KEPT:]
    return replace(part, artifacts=tuple(sorted((*part.artifacts, *kept), key=lambda a: str(a.nevra))))


def _like(own: Sequence[Artifact], name: str, version: str) -> Artifact | None:
    """What a former one is compared with: the gate of that driver, the release package of the stream."""
    found = [a for a in own if a.nevra.name == name and (name == _RELEASE or a.nevra.evr.version == version)]
    return max(found, key=lambda a: a.nevra.evr, default=None)


def _may_stay(former: Artifact, newest: Artifact) -> bool:
    if _of(former) != _of(newest):
        return False
    if former.nevra.name == _GATE:
        one, other = read_header(former.path), read_header(newest.path)
        return lets_in_no_more(one.requires, one.conflicts, other.requires, other.conflicts)
    return _files(former.path) == _files(newest.path)


def lets_in_no_more(
    requires: Collection[str],
    conflicts: Collection[str],
    newest_requires: Collection[str],
    newest_conflicts: Collection[str],
) -> bool:
    """Whether a gate lets in no kernel that the newest one keeps out, and requires nothing that it does not.

    A gate requires ``(its module if a kernel)`` for each kernel that it lets in, and conflicts with all others of each
    package name that it knows; one that knows a name less lets in all kernels of that name. Pure.
    """
    return set(requires) <= set(newest_requires) and _names(newest_conflicts) <= _names(conflicts)


def _names(conflicts: Collection[str]) -> set[str]:
    return {found[1] for text in conflicts if (found := _NAME.match(text))}


def _of(artifact: Artifact) -> str:
    """Flavor, way of delivery or stream, and distribution: a Release without its serial."""
    return artifact.nevra.evr.release.partition(".")[2]


def _files(rpm: Path) -> dict[str, bytes]:
    return extract_members(rpm, read_header(rpm).files)
