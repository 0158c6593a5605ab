"""Signed lists of files, with a number and how long they may be believed (ADR 0026, ADR 0031). Pure.

``publication-manifest.json`` lists a publication, ``site-manifest.json`` what lies at the top of a repository. The
signature lies beside it under a name made of the manifest's own bytes, ``publication-manifest.<digest>.asc``: so a
manifest is replaced by one rename, and no reader ever has one with the signature of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST, SITE = "publication-manifest.json", "site-manifest.json"
_TIME = "%Y-%m-%dT%H:%M:%SZ"
MAX_BYTES = 64 << 20  # of a manifest that is read: a quarter of a million files; what is longer is an attack
MAX_SIGNATURE = 64 << 10  # bytes

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Part(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ManifestFile(_Part):
    """One file."""

    path: Annotated[str, Field(pattern=r"^[^/]")]
    """Relative to the publication, without `..`."""
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class ListHead(_Part):
    """What a signed list says of itself, without its files: they are many, and seldom asked for."""

    model_config = ConfigDict(defer_build=True, extra="ignore")

    schema_: Literal[1] = Field(default=1, alias="schema")
    key: Annotated[str, Field(pattern="^[0-9A-F]{40}$")]
    """Fingerprint of the OpenPGP key that signs this list (and the metadata of a publication)."""
    sequence: Annotated[int, Field(ge=1)]
    """Higher than that of every list before it at the same place, of rollbacks and renewals, too."""
    issued: Time
    """UTC."""
    expires: Time
    """UTC; a client that finds nothing newer by then is being kept from it, or its publisher is gone."""


class SignedList(ListHead):
    """Files that somebody with the key says to belong together."""

    model_config = ConfigDict(defer_build=True, extra="forbid")

    files: list[ManifestFile]
    """Every file but the list itself and its signatures, by path; what is reached through a link stands here once."""


class ManifestHead(ListHead):
    """What one publication of a distribution × arch is."""

    module: str
    distribution: str
    arch: str
    publication: Sha256
    """The digest of its publication.json: its name."""
    part_of: Sha256 | None = None
    """The publication that this is some streams and kernels of, by a bundle; not there: it is whole."""


class Manifest(ManifestHead, SignedList):
    """What one publication of a distribution × arch consists of, signed by who publishes it."""

    model_config = ConfigDict(defer_build=True, extra="forbid")


class CurrentOne(_Part):
    """A publication that is current."""

    path: Annotated[str, Field(pattern=r"^[^/.][^/]*/[^/.][^/]*$")]
    """`<distribution>/<arch>`."""
    publication: Sha256
    """The digest of its publication.json."""


class SiteManifest(SignedList):
    """What lies at the top of a repository, beside its publications: keys, `.repo` files, pages, events, logs."""

    publications: list[CurrentOne]
    """What was current when this was signed: what the pages speak of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """For how long a publication may be believed, and from when on."""

    now: int  # seconds since the epoch
    lifetime: int  # seconds
    sequence: int = 1  # the least that the number may be: where a lost repository was made anew


_List = TypeVar("_List", bound=SignedList)


def list_bytes(document: Mapping[str, Any]) -> bytes:
    """A list as canonical JSON: one byte sequence for one content."""
    # Without indentation: only so does Python's json work in C, ten times as fast.
    return (json.dumps(document, sort_keys=True) + "\n").encode()


def read_list(kind: type[_List], data: bytes) -> _List:
    """The list in these bytes, whose signature was verified before; raises ValueError saying what is wrong."""
    try:
        manifest = kind.model_validate_json(data)
        lasts = at(manifest.expires) - at(manifest.issued)
    except ValidationError as exc:
        first = exc.errors()[0]
        raise ValueError(f"{'.'.join(str(part) for part in first['loc'])}: {first['msg']}") from exc
    if lasts <= 0:
        raise ValueError("expires before it was issued")
    paths = [file.path for file in manifest.files]
    if len(set(paths)) != len(paths) or any(".." in path.split("/") for path in paths):
        raise ValueError("files: a path stands there twice or leaves the publication")
    return manifest


def read_manifest(data: bytes) -> Manifest:
    """As ``read_list``, of a publication."""
    return read_list(Manifest, data)


def signature_name(data: bytes, of: str = MANIFEST) -> str:
    """The file that signs a manifest of these bytes, which is called ``of``."""
    return f"{of.removesuffix('json')}{hashlib.sha256(data).hexdigest()[:16]}.asc"


def is_of_manifest(name: str, of: str = MANIFEST) -> bool:
    """Whether a path of a publication is the manifest or one of its signatures: what no manifest lists."""
    return name == of or (name.startswith(of.removesuffix("json")) and name.endswith(".asc") and "/" not in name)


def make_manifest(
    *,
    module: str,
    distribution: str,
    arch: str,
    publication: str,
    key: str,
    sequence: int,
    terms: Terms,
    files: Iterable[tuple[str, str, int]],
    part_of: str | None = None,
) -> bytes:
    """A manifest of these files (path, sha256, bytes)."""
    return list_bytes(
        {
            "schema": 1,
            "module": module,
            "distribution": distribution,
            "arch": arch,
            "publication": publication,
            **({"part_of": part_of} if part_of is not None else {}),
            "key": key,
            "sequence": sequence,
            "issued": text_of(terms.now),
            "expires": text_of(terms.now + terms.lifetime),
            "files": [{"path": path, "sha256": sha256, "size": size} for path, sha256, size in sorted(files)],
        }
    )


def at(text: str) -> int:
    """Seconds since the epoch of a time in a manifest; raises ValueError."""
    return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())


def text_of(seconds: int) -> str:
    """A time as manifests write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def manifest_schemas() -> dict[str, dict[str, Any]]:
    """JSON Schemas (2020-12) of the manifests, by their names."""
    kinds: dict[str, type[SignedList]] = {MANIFEST: Manifest, SITE: SiteManifest}
    return {
        name.removesuffix(".json"): {
            "$schema": "https://json-schema.org/draft/2020-12/schema",
            **kind.model_json_schema(by_alias=True),
        }
        for name, kind in kinds.items()
    }
