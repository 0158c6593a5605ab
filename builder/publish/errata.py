"""Advisories of a publication: what was issued before goes on standing as it was, byte for byte (docs/errata.md)."""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from builder.errors import ToolError
from builder.model.errata import Advisory, AdvisoryCollection, AdvisoryKind, ModuleId
from builder.model.matrix import Delivery
from builder.model.nevra import Nevra
from builder.model.publication import PublicationContent, StreamContent
from builder.publish.generations import Repository
from builder.publish.modulemd import stream_document
from builder.tools.createrepo import MetadataRecord, read_repomd
from builder.tools.updateinfo import IssuedAdvisory, read_updateinfo, updateinfo_xml

RECORD_TYPE = "updateinfo"
Newest = Mapping[tuple[str, str], Nevra]  # by name and architecture


def with_errata(content: PublicationContent, planned: Sequence[Advisory], repo: Path) -> PublicationContent:
    """The content with its advisories; call it when nothing else of the content changes any more.

    A collection of the current publication in ``repo`` is taken over, with the module that it named, as long as the
    stream's packages fulfil it; so is the date where matrix.yaml gives none. An updateinfo.xml that is damaged counts
    as none: what is published next must not fail because of it.
    """
    issued = {advisory.id: advisory for advisory in _issued(repo, content)}
    parts = {part.stream.name: part for part in content.streams}
    newest = {name: newest_of(artifact.nevra for artifact in part.artifacts) for name, part in parts.items()}
    merged = (_merge(advisory, issued.get(advisory.id), parts, newest, content) for advisory in planned)
    return replace(content, advisories=tuple(advisory for advisory in merged if advisory.collections))


def updateinfo_of(content: PublicationContent, stream: str | None = None) -> bytes | None:
    """updateinfo.xml of a publication, or of one stream's tree in it; None where there is nothing to say."""
    chosen = [
        replace(advisory, collections=collections)
        for advisory in content.advisories
        if (collections := tuple(c for c in advisory.collections if stream in (None, c.stream)))
    ]
    return updateinfo_xml(chosen) if chosen else None


def read_issued(path: Path) -> tuple[IssuedAdvisory, ...]:
    """The advisories of an updateinfo.xml, plain or gz; raises ToolError when it is none."""
    if path.suffix != ".gz":
        return read_updateinfo(path)
    with tempfile.TemporaryDirectory() as tmp:
        plain = Path(tmp) / "updateinfo.xml"
        try:
            plain.write_bytes(gzip.decompress(path.read_bytes()))
        except (OSError, EOFError) as exc:
            raise ToolError(f"{path.name}: cannot be unpacked: {exc}") from exc
        return read_updateinfo(plain)


def advisory_ids(generation: Path) -> set[str]:
    """Ids of a generation's advisories; those of a damaged document are left out."""
    return {advisory.id for advisory in _of_generation(generation)}


def _issued(repo: Path, content: PublicationContent) -> list[IssuedAdvisory]:
    repository = Repository(repo)
    current = repository.current(content.distribution, content.arch)
    return _of_generation(repository.place(current)) if current is not None else []


def _of_generation(top: Path) -> list[IssuedAdvisory]:
    """What a generation says; an advisory of several trees is put together again."""
    found: dict[str, IssuedAdvisory] = {}
    for folder in (top, *sorted(top.glob("streams/*"))):
        for advisory in _read(folder):
            known = found.get(advisory.id, replace(advisory, collections=()))
            found[advisory.id] = replace(known, collections=(*known.collections, *advisory.collections))
    return list(found.values())


def _read(folder: Path) -> tuple[IssuedAdvisory, ...]:
    repomd = folder / "repodata/repomd.xml"
    try:
        records: Iterable[MetadataRecord] = read_repomd(repomd) if repomd.is_file() else ()
        return tuple(a for r in records if r.type == RECORD_TYPE for a in read_issued(folder / r.href))
    except ToolError:
        return ()


def _merge(
    advisory: Advisory,
    issued: IssuedAdvisory | None,
    parts: Mapping[str, StreamContent],
    newest: Mapping[str, Newest],
    content: PublicationContent,
) -> Advisory:
    new = {c.stream: c for c in advisory.collections if c.stream in parts}
    old = {c.stream: c for c in issued.collections if c.stream in parts} if issued is not None else {}
    collections = tuple(_collections(advisory.kind, new, old, parts, newest, content))
    date = advisory.issued
    if issued is not None and collections and not advisory.dated:
        date = issued.issued
    return replace(advisory, issued=date, collections=collections)


def _collections(
    kind: AdvisoryKind,
    new: Mapping[str, AdvisoryCollection],
    old: Mapping[str, AdvisoryCollection],
    parts: Mapping[str, StreamContent],
    newest: Mapping[str, Newest],
    content: PublicationContent,
) -> Iterator[AdvisoryCollection]:
    for stream in sorted(new.keys() | old.keys()):
        former = old.get(stream)
        stays = former is not None and fulfilled_by(former.packages, newest[stream])
        if former is not None and stays and (stream in new or kind is AdvisoryKind.DRIVER):
            yield former
        elif stream in new:
            yield replace(new[stream], module=_module(content, parts[stream]))


def newest_of(offered: Iterable[Nevra]) -> Newest:
    """The newest of each name and architecture. Pure."""
    newest: dict[tuple[str, str], Nevra] = {}
    for nevra in offered:
        key = nevra.name, nevra.arch
        if key not in newest or newest[key].evr < nevra.evr:
            newest[key] = nevra
    return newest


def fulfilled(asked: Iterable[Nevra], offered: Iterable[Nevra]) -> bool:
    """Whether a stream still has what an advisory asks for, or newer; a package that left it is not asked for. Pure."""
    return fulfilled_by(asked, newest_of(offered))


def fulfilled_by(asked: Iterable[Nevra], newest: Newest) -> bool:
    """As ``fulfilled``, where many are asked about one stream."""
    known = [nevra for nevra in asked if (nevra.name, nevra.arch) in newest]
    return bool(known) and all(nevra.evr <= newest[nevra.name, nevra.arch].evr for nevra in known)


def _module(content: PublicationContent, part: StreamContent) -> ModuleId | None:
    """The module that carries the packages first, without its context: each kernel that comes makes another one.

    dnf offers an advisory where a module of that name, stream, arch and context is enabled and does not look at the
    version; no context fits all (measured with dnf 4.14). With the context of one build the advisory would be silent
    from the next build on, or its bytes would have to change with each.
    """
    if content.delivery is not Delivery.MODULAR:
        return None
    data = stream_document(content, part)["data"]
    return ModuleId(
        name=data["name"],
        stream=data["stream"],
        version=data["version"],
        context="",
        arch=data["arch"],
    )
