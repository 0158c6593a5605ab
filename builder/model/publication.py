"""What is published: one immutable generation of one distribution × arch."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from builder.model.cells import Artifact
from builder.model.errata import Advisory
from builder.model.matrix import Delivery, Stream

_ARMORED = re.compile(r"-----BEGIN PGP PUBLIC KEY BLOCK-----.*?-----END PGP PUBLIC KEY BLOCK-----", re.DOTALL)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamContent:
    """A stream with the RPMs that belong to it (the same RPM may stand in several streams)."""

    stream: Stream
    driver_versions: tuple[str, ...]  # oldest first; the newest is what an install gets
    artifacts: tuple[Artifact, ...]  # signed binary RPMs, sorted by NEVRA
    eol: str | None = None  # of its branch, "YYYY-MM" or "YYYY"; None where there is none


@dataclass(frozen=True, slots=True, kw_only=True)
class ClientRepository:
    """How a client is told of a repository."""

    id: str  # the section's name
    text: str  # the whole .repo file


def armored_keys(data: bytes) -> tuple[str, ...]:
    """The armored public keys in a file, without what stands around them."""
    return tuple(_ARMORED.findall(data.decode(errors="replace").replace("\r", "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class HostRepository:
    """What the release package of a repository with modules brings to a host (ADR 0035)."""

    repository: ClientRepository
    file: str  # its .repo file below /etc/yum.repos.d
    key_file: str  # where its keys lie on the host
    keys: tuple[bytes, ...]  # armored, oldest first: all that may sign
    certificate: tuple[str, bytes] | None  # name and DER bytes of who signs the modules; None: they are unsigned


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationContent:
    """Everything that determines a publication's bytes."""

    module: str
    distribution: str
    platform: str
    arch: str
    streams: tuple[StreamContent, ...]  # sorted by stream name
    sources: tuple[Artifact, ...]  # signed SRPMs (open parts only), may be empty
    files: tuple[tuple[str, bytes], ...] = ()  # (name, bytes) beside the packages: support-matrix.json …
    delivery: Delivery = Delivery.MODULAR
    advisories: tuple[Advisory, ...] = ()  # by id
    beside: tuple[Artifact, ...] = ()  # signed RPMs in no stream of a module, oldest first: release packages (ADR 0035)


@dataclass(frozen=True, slots=True, kw_only=True)
class Publication:
    """One published generation."""

    digest: str  # sha256 over the content; its name
    distribution: str
    arch: str
    path: Path  # absolute folder of this generation
    current: Path  # the symlink that clients use
    packages: int  # binary RPMs
    changed: bool  # False: the same generation was current already
    renewed: bool = False  # whether it got a new number and date
