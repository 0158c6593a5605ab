"""Cells, the packages around them, and what is to be done with each."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from builder.model.matrix import Distribution, Driver, Flavor, Kernel, Kmods
from builder.model.nevra import Nevra


@dataclass(frozen=True, slots=True, kw_only=True)
class Cell:
    """One driver × flavor × kernel × distribution × arch: one kmod package.

    Its id is ``r535-open@<uname -r>`` for the newest driver of a branch and ``r535-open:<driver_version>@<uname -r>``
    for an older one (docs/adr/0003-cell-ids.md).
    """

    driver: Driver
    newest: bool  # newest driver of its branch in this matrix
    flavor: Flavor
    kernel: Kernel
    distribution: Distribution

    @property
    def id(self) -> str:
        """Globbable name, used everywhere: command line, log prefix, folder, JSON, errors."""
        return f"{branch_label(self.driver, self.flavor, newest=self.newest)}@{self.kernel.release}"

    @property
    def arch(self) -> str:
        """RPM architecture."""
        return self.kernel.arch


def branch_label(driver: Driver, flavor: Flavor, *, newest: bool) -> str:
    """``r535-open``, or ``r535-open:535.54.03`` for a driver that is not its branch's newest."""
    label = f"r{driver.branch}{flavor.suffix}"
    return label if newest else f"{label}:{driver.version}"


class PackageKind(StrEnum):
    """The spec templates (specs/<value>.spec.j2)."""

    KMOD = "kmod-nvidia"
    GATE = "nvidia-kmod-common"
    OBJECTS = "nvidia-kmod-objects"
    CERTIFICATE = "nvidia-kmod-certificate"
    DRIVER = "nvidia-driver"
    COMPAT32 = "nvidia-driver-compat32"
    DKMS = "dkms-nvidia"
    FABRICMANAGER = "nvidia-fabricmanager"
    NSCQ = "libnvidia-nscq"
    IMEX = "nvidia-imex"
    OPEN_SOURCE = "nvidia-open-kernel-source"
    CUDA_DRIVERS = "cuda-drivers"
    OPEN_META = "nvidia-open"
    DNF_PLUGIN = "dnf-plugin-nvidia"
    LIBDNF5_PLUGIN = "libdnf5-plugin-nvidia"
    RELEASE = "nvidia-driver-release"
    STREAM_KMODS = "kmod-nvidia-stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Unit:
    """One SRPM to build: a cell's kmod or one of the packages around a driver.

    ``cell`` is set for KMOD only; ``flavor`` for KMOD, OBJECTS, GATE, DKMS, OPEN_SOURCE; ``kmods`` for GATE; ``stream``
    for RELEASE, but not for that of a repository with modules (``of_repository``). ``label`` is set for packages that
    carry their stream in their names (ADR 0020); then ``flavor`` and ``kmods`` are those of the stream.
    """

    kind: PackageKind
    driver: Driver
    newest: bool
    distribution: Distribution
    arch: str  # architecture of the repository it goes to
    flavor: Flavor | None = None
    kmods: Kmods | None = None
    cell: Cell | None = None
    stream: str | None = None  # name of the stream that it selects
    label: str | None = None  # of the stream whose package it is: "branch-535-open", "latest-dkms"

    @property
    def of_repository(self) -> bool:
        """Is it of the whole repository: the release package where streams are module streams (ADR 0035)?

        Its ``driver`` is any of the repository's; nothing in the package is of it.
        """
        return self.kind is PackageKind.RELEASE and self.stream is None and self.label is None

    @property
    def id(self) -> str:
        """A cell's id for kmods; ``<package>[-open|-dkms|-<stream>]:<version>@<distribution>.<arch>`` for the rest,
        with ``[<label>]`` after the package where its stream stands in its name.
        """
        if self.cell is not None:
            return self.cell.id
        if self.of_repository:
            return f"{self.kind.value}@{self.distribution.name}.{self.arch}"
        if self.label is not None:
            return f"{self.kind.value}[{self.label}]:{self.driver.version}@{self.distribution.name}.{self.arch}"
        tail = (self.flavor.suffix if self.flavor else "") + ("-dkms" if self.kmods is Kmods.DKMS else "")
        tail += f"-{self.stream}" if self.stream else ""
        return f"{self.kind.value}{tail}:{self.driver.version}@{self.distribution.name}.{self.arch}"

    @property
    def scope(self) -> str:
        """Stable name for the ledger: unlike the id it does not change when a newer driver joins the branch."""
        if self.of_repository:
            return f"{self.distribution.name}/{self.arch}/{self.kind.value}"
        of = (self.flavor, self.kmods, self.stream) if self.label is None else (self.label,)
        parts = (self.distribution.name, self.arch, self.kind, self.driver.version, *of)
        kernel = self.cell.kernel.release if self.cell else None
        return "/".join(str(part) for part in (*parts, kernel) if part is not None)


class Decision(StrEnum):
    """What ``plan`` decided for a unit."""

    BUILD = "build"
    REUSE = "reuse"
    SKIP = "skip"
    BLOCKED = "blocked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Action:
    """A unit, the decision, its printed reason and (when it can be known) its key."""

    unit: Unit
    decision: Decision
    reason: str
    key: str | None = None  # digest of everything that can change its bytes; None where blocked or skipped
    hint: str | None = None  # the command that unblocks it


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One RPM; its sha256 is its identity, the path is only where it lies."""

    nevra: Nevra
    path: Path  # absolute
    size: int  # bytes
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BuildResult:
    """What the store holds for a key: RPMs, logs, the buildroot's package list."""

    key: str
    unit_id: str
    artifacts: tuple[Artifact, ...]  # binary RPMs, sorted by NEVRA
    source: Artifact | None  # the SRPM
    folder: Path  # absolute; holds build.log, root.log, state.log, installed_pkgs.log
    seconds: float  # wall
    serial: int = 1  # first part of the Release
    content: str = ""  # digest that the serial stands for
    source_date_epoch: int = 0  # seconds; of its sources, and of its signatures
    signer: str = ""  # who signed the modules in it, "" where it holds none


class Outcome(StrEnum):
    """Outcome of a check."""

    OK = "ok"
    FAILED = "failed"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One check of qualification with its evidence."""

    name: str  # vermagic, imports, nevra, files …
    outcome: Outcome
    evidence: tuple[str, ...]  # a line each; what was compared, what was found


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """All checks of one unit's artifacts."""

    unit_id: str
    level: str  # "static"
    checks: tuple[Check, ...]
    ok: bool = field(init=False, repr=False, compare=False)  # no check failed; found once: each stream asks each unit

    def __post_init__(self) -> None:
        object.__setattr__(self, "ok", all(c.outcome is Outcome.OK for c in self.checks))

    @property
    def reason(self) -> str:
        """First failed check in one line, or ``"<n> checks passed"``."""
        for check in self.checks:
            if check.outcome is Outcome.FAILED:
                return f"{check.name}: {check.evidence[0] if check.evidence else 'failed'}"
        return f"{len(self.checks)} checks passed"
