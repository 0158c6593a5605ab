"""Advisories: what a driver release or a kernel's modules mean for hosts, as updateinfo.xml tells it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from builder.model.nevra import Nevra


class Severity(StrEnum):
    """How bad what an advisory fixes is, in the words that dnf knows."""

    CRITICAL = "Critical"
    IMPORTANT = "Important"
    MODERATE = "Moderate"
    LOW = "Low"


class AdvisoryKind(StrEnum):
    """What an advisory is about."""

    DRIVER = "driver"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryFacts:
    """What matrix.yaml says of a driver or kernel release for its advisory."""

    issued: str | None = None  # "YYYY-MM-DD"; None: the date of what it is about
    severity: Severity | None = None
    cves: tuple[str, ...] = ()  # sorted
    references: tuple[str, ...] = ()  # URLs, as given
    text: str | None = None


NO_FACTS = AdvisoryFacts()


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleId:
    """The module that a collection's packages came with first."""

    name: str
    stream: str
    version: int
    context: str  # "": any of that stream
    arch: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AdvisoryCollection:
    """The packages that an advisory asks for in one stream."""

    stream: str
    packages: tuple[Nevra, ...]  # sorted
    module: ModuleId | None = None  # None where there are no module streams


@dataclass(frozen=True, slots=True, kw_only=True)
class Advisory:
    """One advisory of a distribution; its id is the same on all architectures."""

    id: str
    kind: AdvisoryKind
    title: str
    description: str
    issued: int  # seconds since the epoch; 0: not said
    vendor: str
    release: str  # the distribution's title
    collections: tuple[AdvisoryCollection, ...]  # by stream
    severity: Severity | None = None
    cves: tuple[str, ...] = ()
    references: tuple[str, ...] = ()
    dated: bool = False  # matrix.yaml says when it was issued

    @property
    def type(self) -> str:
        """``security`` where it names a CVE, else ``bugfix`` for a driver and ``enhancement`` for a kernel."""
        if self.cves:
            return "security"
        return "bugfix" if self.kind is AdvisoryKind.DRIVER else "enhancement"
