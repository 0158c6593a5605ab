"""Module documents (modulemd v2, modulemd-defaults v1) as values and as YAML. Pure; docs/adr/0007-publication.md."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import yaml

from builder.model.cells import Artifact
from builder.model.lifetimes import last_day
from builder.model.publication import PublicationContent, StreamContent

GATE = "nvidia-kmod-common"
LICENSE = "MIT"  # of the module definition itself; each package carries its own
_WIDTHS = (4, 4, 3)  # digits of a driver version's numbers inside a module version
_SERIAL_WIDTH = 4
_MARK = "@artifacts@"  # stands for them while a document is written
_NEVRA = re.compile(r"[A-Za-z0-9._+~^:-]+")  # which stands between double quotes as it is
_CONTEXT = 8  # hex digits; modulemd allows 13 of [a-zA-Z0-9_]


class _Quoted(str):
    """A string that is written in double quotes, whatever it looks like (``418`` and ``1.10`` are not numbers)."""

    __slots__ = ()


class _Dumper(getattr(yaml, "CSafeDumper", yaml.SafeDumper)):  # type: ignore[misc]  # chosen at run time
    """Writes 11,000 artifacts in 0.1 s instead of 2 s where libyaml is there."""

    def ignore_aliases(self, data: Any) -> bool:
        """No anchors: some importers do not resolve them."""
        del data
        return True


_Dumper.add_representer(
    _Quoted, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"')
)


def module_version(driver_version: str, serial: int) -> int:
    """A number that orders contents of a stream as their drivers and gates are ordered, and never asks the clock.

    ``535.261.03`` with gate serial 7 is 535 0261 003 0007. Raises ValueError for a driver version of another shape.
    """
    numbers = driver_version.split(".")
    if not 1 <= len(numbers) <= len(_WIDTHS) or not all(re.fullmatch(r"[0-9]+", n) for n in numbers):
        raise ValueError(f"driver version {driver_version!r} is not one to three numbers")
    numbers += ["0"] * (len(_WIDTHS) - len(numbers))
    padded = [str(int(n)).zfill(width) for n, width in zip(numbers, _WIDTHS, strict=True)]
    padded.append(str(serial).zfill(_SERIAL_WIDTH))
    if any(len(text) > width for text, width in zip(padded, (*_WIDTHS, _SERIAL_WIDTH), strict=True)):
        raise ValueError(f"driver version {driver_version!r} with serial {serial} does not fit a module version")
    return int("".join(padded))


def gate_serial(artifacts: Sequence[Artifact], driver_version: str) -> int:
    """Serial of the newest gate of a driver (the number its Release begins with); 0 where there is no gate."""
    releases = [
        a.nevra.evr.release
        for a in artifacts
        if a.nevra.name == GATE and a.nevra.evr.version == driver_version and a.nevra.arch != "src"
    ]
    return max((int(m[0]) for release in releases if (m := re.match(r"[0-9]+", release))), default=0)


def stream_document(content: PublicationContent, part: StreamContent) -> dict[str, Any]:
    """The modulemd v2 document of one stream. Its context is a digest of everything else in it."""
    stream = part.stream
    newest = part.driver_versions[-1]
    packages = {package for profile in stream.profiles for package in profile.packages}
    data: dict[str, Any] = {
        "name": content.module,
        "stream": stream.name,
        "version": module_version(newest, gate_serial(part.artifacts, newest)),
        "arch": content.arch,
        "summary": stream.summary,
        "description": stream.description,
        "license": {"module": [LICENSE]},
        "dependencies": [{"requires": {"platform": [content.platform]}}],
        "profiles": {
            profile.name: {
                **({"description": profile.description} if profile.description else {}),
                "rpms": sorted(profile.packages),
            }
            for profile in sorted(stream.profiles, key=lambda p: p.name)
        },
        "api": {"rpms": sorted(packages)},
        "artifacts": {"rpms": sorted(a.nevra.artifact for a in part.artifacts)},
    }
    ordered: dict[str, Any] = {}
    for key, value in data.items():
        ordered[key] = value
        if key == "version":
            ordered["context"] = content_context(data)
    return {"document": "modulemd", "version": 2, "data": ordered}


def content_context(data: Mapping[str, Any]) -> str:
    """The context of a stream's document: a digest of all else in it, so that no NSVCA stands for two contents."""
    content = {key: value for key, value in data.items() if key != "context"}
    identity = json.dumps(content, sort_keys=True, separators=(",", ":")).encode()
    return hashlib.sha256(identity).hexdigest()[:_CONTEXT]


def defaults_document(content: PublicationContent) -> dict[str, Any]:
    """Default stream (left out where it is held back) and the default profile of each stream."""
    data: dict[str, Any] = {"module": content.module}
    default = [part.stream.name for part in content.streams if part.stream.default]
    if default:
        data["stream"] = default[0]
    data["profiles"] = {part.stream.name: [part.stream.default_profile] for part in content.streams}
    return {"document": "modulemd-defaults", "version": 1, "data": data}


def obsoletes_document(content: PublicationContent, part: StreamContent) -> dict[str, Any] | None:
    """When a stream's branch gets its last update, None where NVIDIA gave no date. A client reads its own clock.

    Information: dnf shows it nowhere unless module_obsoletes is set, and nothing is named that would replace it, so
    that no host is moved. ``modified`` has to be there; it is the same date, so a later one takes the place of this.
    """
    if part.eol is None:
        return None
    end = last_day(part.eol)
    data = {
        "modified": f"{end}T00:00Z",
        "module": content.module,
        "stream": part.stream.name,
        "eol_date": f"{end}T00:00Z",
        "message": f"R{part.stream.branch} drivers get no updates from NVIDIA after {part.eol}",
    }
    return {"document": "modulemd-obsoletes", "version": 1, "data": data}


def modules_yaml(content: PublicationContent) -> bytes:
    """All module documents of a publication: defaults, streams by name, ends of life; every string value in quotes."""
    documents = [defaults_document(content)]
    parts = sorted(content.streams, key=lambda part: part.stream.name)
    documents += [stream_document(content, part) for part in parts]
    documents += [document for part in parts if (document := obsoletes_document(content, part)) is not None]
    return dump_documents(documents)


def select_streams(modules: bytes, streams: Mapping[str, Collection[str]]) -> bytes:
    """The module documents of some streams, each with some of its artifacts and the context of what is left.

    ``streams`` holds artifacts by stream name; profiles stay, so what they name must be among them.
    """
    chosen = []
    for document in yaml.load_all(modules, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
        data = document["data"]
        if document["document"] == "modulemd-defaults":
            data["profiles"] = {name: profiles for name, profiles in data["profiles"].items() if name in streams}
            if data.get("stream") not in streams:
                data.pop("stream", None)
        elif data["stream"] not in streams:
            continue
        elif document["document"] == "modulemd":
            data["artifacts"] = {"rpms": sorted(set(data["artifacts"]["rpms"]) & set(streams[data["stream"]]))}
            data["context"] = content_context(data)
        chosen.append(document)
    return dump_documents(chosen)


def dump_documents(documents: Sequence[Mapping[str, Any]]) -> bytes:
    """Module documents as YAML; every string value in quotes."""
    return "".join(_dumped(document) for document in documents).encode()


def _dumped(document: Mapping[str, Any]) -> str:
    """Artifacts are written by hand: thousands of lines of one shape, for which YAML's writer takes 7 µs each."""
    rpms = document["data"].get("artifacts", {}).get("rpms", ())
    if not rpms or not all(map(_NEVRA.fullmatch, rpms)):
        return _yaml(document)
    text = _yaml({**document, "data": {**document["data"], "artifacts": {"rpms": [_MARK]}}})
    before, mark, after = text.partition(f'- "{_MARK}"\n')
    if not mark or _MARK in after:
        return _yaml(document)
    indent = before.rpartition("\n")[2]
    return before + indent.join(f'- "{rpm}"\n' for rpm in rpms) + after


def _yaml(document: Mapping[str, Any]) -> str:
    text: str = yaml.dump(
        _quote(document),
        Dumper=_Dumper,
        sort_keys=False,
        explicit_start=True,
        explicit_end=True,
        default_flow_style=False,
        allow_unicode=True,
        width=2**16,
    )
    return text


def _quote(value: Any) -> Any:
    """Keys stay as they are unless YAML would read them as something else."""
    if isinstance(value, dict):
        return {_key(key): _quote(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_quote(item) for item in value]
    return _Quoted(value) if isinstance(value, str) else value


def _key(key: str) -> str:
    return key if re.fullmatch(r"[a-z_]+", key) and yaml.safe_load(key) == key else _Quoted(key)
