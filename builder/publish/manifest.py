"""publication-manifest.json: every file of a publication, its number and how long it may be believed (ADR 0026). Pure.

The signature lies beside it under a name made of the manifest's own bytes, ``publication-manifest.<digest>.asc``: so a
manifest is replaced by one rename, and no reader ever has one with the signature of another.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

MANIFEST = "publication-manifest.json"
_SIGNATURE = "publication-manifest."
_TIME = "%Y-%m-%dT%H:%M:%SZ"
MAX_BYTES = 64 << 20  # of a manifest that is read: a quarter of a million files; what is longer is an attack
MAX_SIGNATURE = 64 << 10  # bytes

Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Time = Annotated[str, Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class ManifestFile(_Part):
    """One file."""

    path: Annotated[str, Field(pattern=r"^[^/]")]
    """Relative to the publication, without `..`."""
    sha256: Sha256
    size: Annotated[int, Field(ge=0)]
    """Bytes."""


class ManifestHead(_Part):
    """What one publication of a distribution × arch is, without its files: they are many, and seldom asked for."""

    model_config = ConfigDict(extra="ignore")

    schema_: Literal[1] = Field(default=1, alias="schema")
    module: str
    distribution: str
    arch: str
    publication: Sha256
    """The digest of its publication.json: its name."""
    key: Annotated[str, Field(pattern="^[0-9A-F]{40}$")]
    """Fingerprint of the OpenPGP key that signs this manifest and the metadata."""
    sequence: Annotated[int, Field(ge=1)]
    """Higher than that of every manifest before it at the same place, of rollbacks and renewals, too."""
    issued: Time
    """UTC."""
    expires: Time
    """UTC; a client that finds nothing newer by then is being kept from it, or its publisher is gone."""


class Manifest(ManifestHead):
    """What one publication of a distribution × arch consists of, signed by who publishes it."""

    model_config = ConfigDict(extra="forbid")

    files: list[ManifestFile]
    """Every file but the manifest and its signatures, by path; what is reached through a link stands here once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """For how long a publication may be believed, and from when on."""

    now: int  # seconds since the epoch
    lifetime: int  # seconds
    sequence: int = 1  # the least that the number may be: where a lost repository was made anew


def read_manifest(data: bytes) -> Manifest:
    """The manifest in these bytes, whose signature was verified before; raises ValueError saying what is wrong."""
    try:
        manifest = Manifest.model_validate_json(data)
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


def signature_name(data: bytes) -> str:
    """The file that signs a manifest of these bytes."""
    return f"{_SIGNATURE}{hashlib.sha256(data).hexdigest()[:16]}.asc"


def is_of_manifest(name: str) -> bool:
    """Whether a path of a publication is the manifest or one of its signatures: what no manifest lists."""
    return name == MANIFEST or (name.startswith(_SIGNATURE) and name.endswith(".asc") and "/" not in name)


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
) -> bytes:
    """A manifest of these files (path, sha256, bytes) as canonical JSON: one byte sequence for one content."""
    document = {
        "schema": 1,
        "module": module,
        "distribution": distribution,
        "arch": arch,
        "publication": publication,
        "key": key,
        "sequence": sequence,
        "issued": text_of(terms.now),
        "expires": text_of(terms.now + terms.lifetime),
        "files": [{"path": path, "sha256": sha256, "size": size} for path, sha256, size in sorted(files)],
    }
    # Without indentation: only so does Python's json work in C, ten times as fast.
    return (json.dumps(document, sort_keys=True) + "\n").encode()


def at(text: str) -> int:
    """Seconds since the epoch of a time in a manifest; raises ValueError."""
    return int(datetime.strptime(text, _TIME).replace(tzinfo=UTC).timestamp())


def text_of(seconds: int) -> str:
    """A time as manifests write it."""
    return datetime.fromtimestamp(seconds, UTC).strftime(_TIME)


def manifest_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the manifest."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Manifest.model_json_schema(by_alias=True)}
