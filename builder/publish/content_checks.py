"""What must hold before anything is published; neither createrepo_c nor libmodulemd looks at it. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping

from builder.model.cells import Artifact
from builder.model.matrix import Delivery
from builder.model.naming import COMPAT32_ARCHES, RELEASE_FILE, stream_package, stream_packages
from builder.model.publication import PublicationContent, StreamContent
from builder.publish.beside import beside_faults
from builder.publish.modulemd import gate_serial, module_version
from builder.publish.trees import STREAMS, named_releases, release_of

RESERVED = frozenset({"Packages", "SRPMS", "repodata", "publication.json", "former.json", STREAMS, RELEASE_FILE})


def content_faults(content: PublicationContent) -> Iterator[str]:
    """Every contradiction inside a publication, each naming its culprit."""
    if not content.streams:
        yield "no stream has anything to publish"
    for name, count in sorted(Counter(part.stream.name for part in content.streams).items()):
        if count > 1:
            yield f"stream {name}: stands here {count} times"
    defaults = sorted(part.stream.name for part in content.streams if part.stream.default)
    if len(defaults) > 1:
        yield f"streams {', '.join(defaults)}: only one can be the default"
    for part in content.streams:
        for fault in _stream_faults(part, content.delivery):
            yield f"stream {part.stream.name}: {fault}"
        if content.delivery is Delivery.BRANCH_REPOS and release_of(part) is None:
            yield f"stream {part.stream.name}: no package selects it, or one of another stream"
    if content.delivery is Delivery.BRANCH_PACKAGES:
        yield from _name_faults(content)
    yield from beside_faults(content)
    yield from _package_faults(content)
    for name, _ in content.files:
        if name in RESERVED or "/" in name or name.startswith("."):
            yield f"file {name!r}: not a name a publication can carry"


def _name_faults(content: PublicationContent) -> Iterator[str]:
    """A package belongs to the one stream that stands in its name, and each driver has one that says so."""
    owners: dict[str, str] = {}
    for part in content.streams:
        stream = part.stream.name
        if sorted(a.nevra.evr.version for a in named_releases(part)) != sorted(part.driver_versions):
            release = stream_package("nvidia-driver-release", part.stream.label)
            yield f"stream {stream}: not exactly one {release} a driver"
        for name in sorted({artifact.nevra.name for artifact in part.artifacts}):
            if name not in stream_packages(part.stream.label):
                yield f"stream {stream}: {name} does not have the stream in its name"
            if owners.setdefault(name, stream) != stream:
                yield f"{name}: the name of a package of both stream {owners[name]} and stream {stream}"


def _stream_faults(part: StreamContent, delivery: Delivery) -> Iterator[str]:
    stream = part.stream
    if not part.artifacts or not part.driver_versions:
        yield "carries no driver"
        return
    names = {artifact.nevra.name for artifact in part.artifacts}
    if stream.default_profile not in {profile.name for profile in stream.profiles}:
        yield f"default profile {stream.default_profile!r} does not exist"
    for profile in stream.profiles:
        for package in sorted(set(profile.packages) - names):
            yield f"profile {profile.name}: package {package} is not among its RPMs"
    if delivery is Delivery.BRANCH_PACKAGES:
        return
    try:
        module_version(part.driver_versions[-1], gate_serial(part.artifacts, part.driver_versions[-1]))
    except ValueError as exc:
        yield str(exc)


def _package_faults(content: PublicationContent) -> Iterator[str]:
    by_nevra: dict[str, Artifact] = {}
    by_file: dict[str, Artifact] = {}
    own = (content.arch, "noarch", COMPAT32_ARCHES.get(content.arch))
    binary = (*(artifact for part in content.streams for artifact in part.artifacts), *content.beside)
    packages = ((artifact, own) for artifact in binary)
    for artifact, allowed in (*packages, *((artifact, ("src",)) for artifact in content.sources)):
        nevra, filename = str(artifact.nevra), artifact.nevra.filename
        same = by_nevra.setdefault(nevra, artifact)
        if same is not artifact and same.sha256 != artifact.sha256:
            yield f"{nevra}: two RPMs of this name have other bytes ({same.path}, {artifact.path})"
        other = by_file.setdefault(filename, artifact)
        if other is not artifact and other.nevra != artifact.nevra:
            yield f"{filename}: the file name of both {other.nevra} and {artifact.nevra}"
        if artifact.nevra.arch not in allowed:
            yield f"{nevra}: its architecture is not {content.arch}"


def reuse_faults(content: Mapping[str, str], earlier: Mapping[str, Mapping[str, str]]) -> Iterator[str]:
    """RPM file names that an earlier generation (digest → file name → sha256) has with other bytes.

    Mirrors and caches keep files by name: the same name with other bytes is a size or checksum mismatch at clients.
    """
    faults: dict[str, str] = {}
    for digest, files in sorted(earlier.items()):
        for filename, _ in content.items() - files.items():  # of ten thousand, the few that are new or others
            if filename in files:
                faults.setdefault(filename, digest)
    for filename, digest in sorted(faults.items()):
        yield f"{filename}: generation {digest[:12]} has this file name with other bytes"
