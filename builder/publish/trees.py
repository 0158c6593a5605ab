"""A metadata tree a stream over one pool of RPMs (docs/adr/0018-branch-repositories.md): for clients without modules.

Layout inside a generation::

    Packages/<letter>/*.rpm                the pool
    streams/<stream>/repodata/             what a host of that stream sees, signed
    streams/<stream>/Packages              -> ../../Packages
    streams/<stream>/nvidia-driver-release.rpm   the package that selects it; beside streams/ that of the default
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery
from builder.model.naming import RELEASE_FILE, stream_package
from builder.model.publication import PublicationContent, StreamContent
from builder.publish.errata import updateinfo_of
from builder.publish.module_checks import IndexedStream, ModuleIndex
from builder.store import Derived
from builder.store.files import link_file
from builder.tools.createrepo import ListedPackage, write_metadata

STREAMS = "streams"
POOL_LINK = "../../Packages"  # from a tree to the RPMs of its generation


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTree:
    """A stream as publication.json tells of it; what it holds is for its own metadata to say."""

    name: str
    default: bool
    profiles: dict[str, tuple[str, ...]]
    default_profile: str

    @property
    def folder(self) -> str:
        """Relative to the generation."""
        return f"{STREAMS}/{self.name}"

    def indexed(self, packages: Sequence[ListedPackage]) -> IndexedStream:
        """As a stream of module documents: all that its tree lists."""
        return IndexedStream(
            name=self.name,
            artifacts=frozenset(p.nevra.artifact for p in packages),
            profiles=self.profiles,
            default_profiles=(self.default_profile,),
        )


def stream_rows(content: PublicationContent) -> list[dict[str, Any]]:
    """The streams for publication.json: with the pool, everything that determines their trees."""
    return [
        {
            "stream": part.stream.name,
            "default": part.stream.default,
            "profiles": {profile.name: sorted(profile.packages) for profile in part.stream.profiles},
            "default_profile": part.stream.default_profile,
            "packages": [artifact.nevra.artifact for artifact in part.artifacts],
        }
        for part in content.streams
    ]


def read_trees(record: Mapping[str, Any]) -> tuple[StreamTree, ...]:
    """The trees of a publication.json, none for other deliveries; raises ValueError when it is not one of ours."""
    return tuple(tree for tree, _ in _read_rows(record, Delivery.BRANCH_REPOS))


def read_named_streams(record: Mapping[str, Any]) -> tuple[ModuleIndex, ...]:
    """The streams of a publication.json where they stand in package names, as one index; none for other deliveries.

    Metadata do not tell of streams there. Raises ValueError when it is not one of ours.
    """
    rows = _read_rows(record, Delivery.BRANCH_PACKAGES)
    if not rows:
        return ()
    streams = tuple(
        IndexedStream(
            name=tree.name,
            artifacts=artifacts,
            profiles=tree.profiles,
            default_profiles=(tree.default_profile,),
        )
        for tree, artifacts in rows
    )
    return (ModuleIndex(streams=streams, default_stream=next((t.name for t, _ in rows if t.default), None)),)


def _read_rows(record: Mapping[str, Any], delivery: Delivery) -> tuple[tuple[StreamTree, frozenset[str]], ...]:
    try:
        if record.get("delivery") != delivery.value:
            return ()
        trees = tuple(
            (
                StreamTree(
                    name=str(row["stream"]),
                    default=row["default"] is True,
                    profiles={str(name): tuple(str(p) for p in rpms) for name, rpms in row["profiles"].items()},
                    default_profile=str(row["default_profile"]),
                ),
                frozenset(str(package) for package in row["packages"]),
            )
            for row in record["streams"]
        )
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError(f"not a record of a publication: {exc!r}") from exc
    for tree, _ in trees:
        if "/" in tree.name or tree.name.startswith("."):
            raise ValueError(f"{tree.name!r} is no name of a stream")
    return trees


def release_of(part: StreamContent) -> Artifact | None:
    """The newest package that selects a stream; None where there is none, or where some select another stream."""
    found = [a for a in part.artifacts if a.nevra.name == PackageKind.RELEASE.value]
    if len({a.nevra.evr.release.partition(".")[2] for a in found}) != 1:
        return None
    return max(found, key=lambda a: a.nevra.evr)


def named_releases(part: StreamContent) -> tuple[Artifact, ...]:
    """The packages that say which stream a host has where the stream stands in their names, one a driver."""
    name = stream_package(PackageKind.RELEASE.value, part.stream.label)
    return tuple(a for a in part.artifacts if a.nevra.name == name)


def write_trees(
    folder: Path, content: PublicationContent, place: Callable[[Artifact], str], *, epoch: int, derived: Derived
) -> list[Path]:
    """Write all trees into a generation that has its pool; ``place`` says where in it an RPM lies.

    Returns each tree's repomd.xml, to be signed. The pool is reached by a link and not by ``..`` in the metadata:
    ``dnf reposync`` refuses the latter. Raises ToolError naming a file that is no RPM.
    """
    written = []
    for part in content.streams:
        tree = folder / STREAMS / part.stream.name
        tree.mkdir(mode=0o755, parents=True)
        (tree / "Packages").symlink_to(POOL_LINK)
        known, errata = {place(a): a.sha256 for a in part.artifacts}, updateinfo_of(content, part.stream.name)
        written.append(
            write_metadata(tree, list(known), None, epoch=epoch, updateinfo=errata, known=known, derived=derived)
        )
        release = release_of(part)
        if release is not None:
            for target in (tree, *([folder] if part.stream.default else [])):
                link_file(release.path, target / RELEASE_FILE)
    return written
