"""Module documents as a client reads them, against the packages of the repository. Pure."""

from __future__ import annotations

import gzip
import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from builder.errors import ToolError
from builder.publish.modulemd import content_context
from builder.tools.createrepo import ListedPackage, read_repomd

# Dependencies and packages of these names must come from the publication itself.
OWN = ("nvidia", "kmod-nvidia", "cuda-drivers", "dkms-nvidia", "libnvidia-nscq")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
# Text to PyYAML, which reads YAML 1.1 with rules of its own; a number or a truth value to readers of YAML 1.2, or to
# those who read 1.1 by the letter. What PyYAML itself takes for no text is refused where text is wanted.
_TEXT_TO_SOME = re.compile(r"(?:[-+]?(?:\.[0-9]+|[0-9][0-9_]*(?:\.[0-9]*)?)[eE][-+]?[0-9]+|0o[0-7]+|[yYnN])")
_WITH_EPOCH = re.compile(r"-[0-9]+:[^-]+-[^-]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class IndexedStream:
    """One stream as its document says."""

    name: str
    artifacts: frozenset[str]  # n-e:v-r.a
    profiles: dict[str, tuple[str, ...]]
    default_profiles: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleIndex:
    """All modules of a repository; repobuild publishes one."""

    streams: tuple[IndexedStream, ...]
    default_stream: str | None


def read_index(folder: Path) -> ModuleIndex:
    """The module index of a generation on disk; raises ToolError when it cannot be read."""
    hrefs = {record.type: record.href for record in read_repomd(folder / "repodata/repomd.xml")}
    index, faults = read_modules(gzip.decompress((folder / hrefs["modules"]).read_bytes()))
    if index is None:
        raise ToolError(f"{folder}: {faults[0]}")
    return index


def read_default(folder: Path) -> str | None:
    """The default stream of a generation on disk, from the document that tells it and no other.

    Raises ToolError when the module documents cannot be read.
    """
    hrefs = {record.type: record.href for record in read_repomd(folder / "repodata/repomd.xml")}
    data = gzip.decompress((folder / hrefs["modules"]).read_bytes())
    try:
        for document in yaml.load_all(data, Loader=_LOADER):
            kind, body = _document(document)
            if kind == "modulemd-defaults":
                return body.get("stream")
    except (yaml.YAMLError, UnicodeDecodeError, _Faulty) as exc:
        raise ToolError(f"{folder}: modules.yaml: {' '.join(str(exc).split())}") from exc
    return None


class _Faulty(Exception):  # noqa: N818  never leaves this file
    """One document cannot be used."""


def read_modules(data: bytes) -> tuple[ModuleIndex | None, list[str]]:
    """The index and everything wrong with the documents themselves; no index when nothing can be read."""
    try:
        documents = list(yaml.load_all(data, Loader=_LOADER))
    except (yaml.YAMLError, UnicodeDecodeError) as exc:
        return None, [f"modules.yaml: not YAML: {' '.join(str(exc).split())}"]
    faults = list(_unquoted(data))
    streams: dict[str, dict[str, Any]] = {}
    defaults: dict[str, Any] = {}
    for number, document in enumerate(documents, start=1):
        try:
            kind, body = _document(document)
            name = _stream_name(body, streams) if kind == "modulemd" else ""
        except _Faulty as exc:
            faults.append(f"modules.yaml, document {number}: {exc}")
            continue
        if kind == "modulemd":
            streams[name] = body
            faults.extend(_identity_faults(name, body))
        elif kind == "modulemd-defaults":
            defaults = body
    chosen = defaults.get("profiles") or {}
    index = ModuleIndex(
        streams=tuple(_indexed(name, body, chosen) for name, body in sorted(streams.items())),
        default_stream=defaults.get("stream"),
    )
    return index, faults


def _unquoted(data: bytes) -> Iterator[str]:
    """Scalars that importers of mirrors (Pulp) may read as other values: only quotes mean the same to all."""
    for event in yaml.parse(data, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        if isinstance(event, yaml.ScalarEvent) and event.implicit[0] and _TEXT_TO_SOME.fullmatch(event.value):
            where = f"line {event.start_mark.line + 1}" if event.start_mark is not None else "somewhere"
            yield f"modules.yaml, {where}: {event.value} is not quoted: some readers take it for no text"


def _document(document: object) -> tuple[str, dict[str, Any]]:
    if not isinstance(document, dict) or not isinstance(document.get("data"), dict):
        raise _Faulty("not a module document")
    return str(document.get("document")), document["data"]


def _text(body: dict[str, Any], key: str) -> str:
    value = body.get(key)
    if not isinstance(value, str):
        raise _Faulty(f"{key}: {value!r} is not a string")
    return value


def _stream_name(body: dict[str, Any], known: Collection[str]) -> str:
    name = _text(body, "stream")
    if name in known:
        raise _Faulty(f"stream {name}: two documents")
    _check_stream(body, name)
    return name


def _check_stream(body: dict[str, Any], name: str) -> None:
    for key in ("name", "context", "arch", "summary", "description"):
        try:
            _text(body, key)
        except _Faulty as exc:
            raise _Faulty(f"stream {name}: {exc}") from exc
    if not isinstance(body.get("version"), int) or body["version"] < 1:
        raise _Faulty(f"stream {name}: version: {body.get('version')!r} is not a number from 1")
    artifacts = (body.get("artifacts") or {}).get("rpms")
    if not isinstance(artifacts, list) or not all(isinstance(a, str) for a in artifacts):
        raise _Faulty(f"stream {name}: no list of artifacts")


def _identity_faults(name: str, body: dict[str, Any]) -> Iterator[str]:
    """Clients and mirrors take one NSVCA for one content; our contexts are made of it (modulemd.content_context)."""
    if body["context"] != content_context(body):
        nsvca = ":".join(str(body[key]) for key in ("name", "stream", "version", "context", "arch"))
        yield f"stream {name}: {nsvca} is the name of another content: its context is not made of this one"
    for artifact in body["artifacts"]["rpms"]:
        if not _WITH_EPOCH.search(artifact):
            yield f"stream {name}: artifact {artifact} has no epoch: clients would not take it for the stream's"


def _indexed(name: str, body: dict[str, Any], defaults: dict[str, Any]) -> IndexedStream:
    profiles = body.get("profiles") or {}
    return IndexedStream(
        name=name,
        artifacts=frozenset(body["artifacts"]["rpms"]),
        profiles={str(p): tuple(str(r) for r in (v or {}).get("rpms") or ()) for p, v in profiles.items()},
        default_profiles=tuple(str(p) for p in defaults.get(name) or ()),
    )


def module_faults(index: ModuleIndex, packages: Sequence[ListedPackage], beside: str = "") -> Iterator[str]:
    """Where documents and packages contradict each other; neither libmodulemd nor createrepo_c looks at this.

    ``beside`` is the name of the one package that belongs to no stream.
    """
    listed = {package.nevra.artifact: package for package in packages}
    names = {stream.name for stream in index.streams}
    if not names:
        yield "modules.yaml: no stream"
    if index.default_stream is not None and index.default_stream not in names:
        yield f"modules.yaml: default stream {index.default_stream!r} does not exist"
    for stream in index.streams:
        for artifact in sorted(stream.artifacts - set(listed)):
            yield f"stream {stream.name}: artifact {artifact} is not in the repository"
        own = {listed[artifact].nevra.name for artifact in stream.artifacts & set(listed)}
        for profile, rpms in sorted(stream.profiles.items()):
            for name in sorted(set(rpms) - own):
                yield f"stream {stream.name}: profile {profile}: package {name} is not among its artifacts"
        for profile in stream.default_profiles:
            if profile not in stream.profiles:
                yield f"stream {stream.name}: default profile {profile!r} does not exist"
    everywhere = frozenset().union(*(stream.artifacts for stream in index.streams))
    for artifact, package in sorted(listed.items()):
        if artifact not in everywhere and package.nevra.arch != "src" and package.nevra.name != beside:
            yield f"{package.href}: in no stream, so every client would see it"
