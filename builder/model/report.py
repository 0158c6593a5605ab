"""What the support matrix is made of: plain facts of one distribution × arch, no other values behind them."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

TIME = "%Y-%m-%dT%H:%MZ"  # of every time in a support matrix: UTC, to the minute


class SupportOutcome(StrEnum):
    """Where a cell stands in a publication."""

    PUBLISHED = "published"
    HELD = "held"  # built and qualified, but no stream carries its driver
    FAILED = "failed"
    BLOCKED = "blocked"
    EXCLUDED = "excluded"  # by a rule of the matrix


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportRow:
    """One cell."""

    cell: str  # its id
    kernel: str  # uname -r
    variant: str
    branch: str
    driver_version: str
    flavor: str
    outcome: SupportOutcome
    reason: str  # why it is where it is; may be empty for published cells
    level: str | None = None  # of qualification, "static"; None: not qualified
    package: str | None = None  # NEVRA of its kmod package; None: not built
    signer: str | None = None  # of its modules: sha256 of the certificate; None: unsigned, or not built


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportKernel:
    """One kernel of the distribution."""

    release: str  # uname -r
    variant: str
    package: str  # name = EVR of the package that owns it
    built: str | None = None  # when its own package was built, "YYYY-MM-DDTHH:MMZ"
    published: str | None = None  # when its distribution published it, likewise
    live: bool = True
    eol: str | None = None
    leaves: str | None = None  # the day from which it may leave the publications


@dataclass(frozen=True, slots=True, kw_only=True)
class UndrivenGpus:
    """GPUs that a stream does not drive, and who does."""

    last_branch: str | None  # the last that drives them; None: this one's proprietary modules
    devices: tuple[str, ...]  # PCI device ids, four hex digits, sorted
    examples: tuple[str, ...]  # some of their names


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportGpus:
    """What the newest driver of a stream drives, by its own list."""

    driver_version: str
    driven: tuple[tuple[str, str], ...]  # (PCI device id, name), sorted
    undriven: tuple[UndrivenGpus, ...]  # newest branch first


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportStream:
    """One stream as published or held back."""

    name: str
    default: bool
    branch: str | None  # None: follows the newest complete driver
    flavor: str
    kmods: str  # precompiled | dkms
    summary: str
    driver_versions: tuple[str, ...]  # oldest first; empty: the whole stream is held back
    held: tuple[tuple[str, str], ...] = ()  # (driver version, reason)
    profiles: tuple[str, ...] = ()  # that the newest driver has the packages of
    gpus: SupportGpus | None = None  # None: its archive has no list of them, or is not here
    label: str | None = None  # what stands in its packages' names, where it does


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportBranch:
    """A driver branch with its lifetime."""

    name: str
    type: str  # LTS, PB, NFB …
    eol: str | None
    max_cuda: str | None
    gpus: tuple[str, ...]  # oldest first
    note: str | None = None
    leaves: str | None = None  # the day from which it may leave the publications


@dataclass(frozen=True, slots=True, kw_only=True)
class SupportFacts:
    """Everything that one support matrix says."""

    module: str
    distribution: str
    title: str
    arch: str
    branches: tuple[SupportBranch, ...]  # oldest first
    kernels: tuple[SupportKernel, ...]
    streams: tuple[SupportStream, ...]
    rows: tuple[SupportRow, ...]
    signer: tuple[str, str] | None = None  # of the kernel modules: common name, sha256 of the certificate
    delivery: str = "modular"  # how streams reach hosts
    notice_days: int = 0  # before something leaves
    key_names: tuple[str, ...] = ()  # public key files at the top of the repository
    brings_repository: bool = False  # a release package outside of all streams has repository and keys (ADR 0035)
