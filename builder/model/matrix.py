"""What the release engineer wrote: distributions × kernels × driver branches, and the streams made of them.

All values are data read from matrix.yaml and streams/*.yaml by ``config``; nothing here is derived by cutting names.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

# The same objects: a build's inner side reads them without the rest of the matrix.
from builder.model.chroots import Chroot as Chroot  # noqa: PLC0414
from builder.model.chroots import RepositoryRef as RepositoryRef  # noqa: PLC0414
from builder.model.errata import NO_FACTS, AdvisoryFacts
from builder.model.levels import Level
from builder.model.lifetimes import DEFAULT_RETENTION, RetentionRules, Webhook
from builder.model.nevra import Evr
from builder.model.patches import Patch


class Flavor(StrEnum):
    """Which of NVIDIA's two kernel module trees a module was built from."""

    PROPRIETARY = "proprietary"
    OPEN = "open"

    @property
    def suffix(self) -> str:
        """``""`` or ``"-open"``, as in stream and cell names."""
        return "-open" if self is Flavor.OPEN else ""

    @property
    def release_tag(self) -> str:
        """``""`` or ``".open"``, as in the Release of kmod and gate packages (``1.open.el9``)."""
        return ".open" if self is Flavor.OPEN else ""


class Kmods(StrEnum):
    """How the kernel modules of a stream come to the host."""

    PRECOMPILED = "precompiled"
    DKMS = "dkms"


class Delivery(StrEnum):
    """How the streams of a distribution reach its package manager."""

    MODULAR = "modular"
    BRANCH_PACKAGES = "branch-packages"
    BRANCH_REPOS = "branch-repos"


class Dnf(StrEnum):
    """A package manager that a distribution's hosts have and that there is a plugin for."""

    DNF4 = "dnf4"
    DNF5 = "dnf5"


CELL_TIMEOUT = 4 * 3600.0  # seconds: a full NVIDIA cell takes minutes, a loaded farm is slower


LIFETIME_DAYS = 30  # of a publication's manifest: a month of holidays, and a freeze is noticed within it


@dataclass(frozen=True, slots=True, kw_only=True)
class DeclaredKey:
    """A public key that hosts are told of."""

    name: str  # the file, as people know it
    data: bytes = field(repr=False)  # armored
    start: str | None  # "YYYY-MM-DD": signs from this day on; None: from the beginning


@dataclass(frozen=True, slots=True, kw_only=True)
class Integrity:
    """How long a publication may be believed, and whose signatures."""

    lifetime: int = LIFETIME_DAYS * 86400  # seconds
    keys: tuple[DeclaredKey, ...] = ()  # oldest first; empty: only the one that signs

    def key_of(self, day: str) -> DeclaredKey | None:
        """The key that signs on a day ("YYYY-MM-DD"); None where none is declared."""
        begun = [key for key in self.keys if key.start is None or key.start <= day]
        return begun[-1] if begun else None


@dataclass(frozen=True, slots=True, kw_only=True)
class PackageRef:
    """A package by name and EVR."""

    name: str
    evr: Evr

    def __str__(self) -> str:
        return f"{self.name} = {self.evr}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Compiler:
    """The toolchain that built a kernel, as its own config says."""

    package: str  # build requirement, e.g. "gcc" or "gcc-12"
    command: str  # what CC must be, e.g. "gcc" or "gcc-12"
    version_text: str | None = None  # CONFIG_CC_VERSION_TEXT, when read


@dataclass(frozen=True, slots=True, kw_only=True)
class Kernel:
    """One kernel of a distribution: separate fields read from its own RPMs."""

    release: str  # exactly `uname -r`
    arch: str  # RPM architecture
    variant: str  # generic, rt, 64k, cloud, uek …
    core: PackageRef  # the package that owns vmlinuz: kernel-core, kernel (el7), kernel-rt-core …
    devel: PackageRef  # the package that owns the build tree
    devel_path: str  # absolute path of the build tree inside the buildroot
    compiler: Compiler
    read_from: str  # where this release was read: URL or file
    built: str | None = None  # when its own package was built, "YYYY-MM-DDTHH:MMZ"; None: nobody wrote it down
    published: str | None = None  # when its distribution published it, likewise
    live: bool = True  # False: kept in the matrix for its history, no longer built
    eol: str | None = None  # its last day, "YYYY-MM-DD", "YYYY-MM" or "YYYY"; None: not known
    advisory: AdvisoryFacts = NO_FACTS

    @property
    def label(self) -> str:
        """``uname -r`` without a trailing ``.<arch>``: what kmod package names carry."""
        return self.release.removesuffix(f".{self.arch}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """One target distribution."""

    name: str  # key in matrix.yaml, e.g. "el9"
    title: str
    platform: str  # modulemd platform stream, e.g. "el9"
    dist_tag: str  # %dist, e.g. ".el9"
    delivery: Delivery
    arches: tuple[str, ...]
    chroots: tuple[Chroot, ...]  # one an arch, same order as arches
    kernels: tuple[Kernel, ...]  # sorted by variant, then EVR
    payload: str = "w3.zstdio"  # %_binary_payload: what this distribution's rpm reads
    other_kernels: tuple[str, ...] = ()  # names of kernel packages that never have a module here, e.g. "kernel-rt-core"
    dnf: tuple[Dnf, ...] = (Dnf.DNF4,)  # whose plugin is built; each once, sorted

    @property
    def plain(self) -> bool:
        """Its rpm (4.11) knows neither boolean nor weak dependencies nor file triggers, its yum no modules."""
        return self.delivery is Delivery.BRANCH_PACKAGES

    def chroot(self, arch: str) -> Chroot:
        """The buildroot description of one arch of this distribution."""
        return self.chroots[self.arches.index(arch)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One downloadable file of a driver; its digest lives in matrix.lock.yaml."""

    kind: str  # run (installer), open-source (tarball of the open modules), fabricmanager, nscq, imex
    arch: str  # RPM architecture, "noarch" for source tarballs
    url: str  # template expanded; a path relative to matrix.yaml is made absolute by config

    @property
    def filename(self) -> str:
        """Last part of the URL."""
        return self.url.rstrip("/").rsplit("/", 1)[-1]


@dataclass(frozen=True, slots=True, kw_only=True)
class Driver:
    """One driver version of a branch."""

    version: str
    branch: str  # "535"
    flavors: tuple[Flavor, ...]
    sources: tuple[Source, ...]
    read_from: str
    modules: tuple[str, ...]  # kernel modules a cell must yield, e.g. ("nvidia", "nvidia-uvm", …)
    patches: tuple[Patch, ...] = ()  # of its branch, in order; which of them a cell has is in model/patches.py
    advisory: AdvisoryFacts = NO_FACTS

    @property
    def open_source(self) -> Source | None:
        """The source release of its open modules, None where the matrix names none."""
        return next((source for source in self.sources if source.kind == "open-source"), None)

    def run_source(self, arch: str) -> Source:
        """The .run installer for an arch; raises KeyError where the driver has none."""
        source = self.source("run", arch)
        if source is None:
            raise KeyError(arch)
        return source

    def source(self, kind: str, arch: str) -> Source | None:
        """The source of a kind for an arch, None where the matrix names none."""
        return next((source for source in self.sources if (source.kind, source.arch) == (kind, arch)), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Branch:
    """A driver branch with its lifetime."""

    name: str  # "535"
    type: str  # LTS, PB, NFB, preview
    eol: str | None  # "YYYY-MM" or "YYYY"; None where NVIDIA gave none
    max_cuda: str | None
    gpus: tuple[str, ...]  # GPU generations, oldest first
    drivers: tuple[Driver, ...]  # oldest version first
    note: str | None = None  # what else the lifetime source says


@dataclass(frozen=True, slots=True, kw_only=True)
class Exclude:
    """A rule that takes cells out of the matrix, with its reason."""

    cells: str  # glob over cell ids
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """An install profile of a stream: user-facing packages only."""

    name: str
    packages: tuple[str, ...]
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stream:
    """One module stream: which driver(s), which flavor, how the kernel modules come."""

    name: str  # r535-open, latest, latest-dkms …
    branch: str | None  # a branch name, or None: follows the newest complete driver of all branches
    flavor: Flavor
    kmods: Kmods
    default: bool
    summary: str
    description: str
    profiles: tuple[Profile, ...]
    default_profile: str
    distributions: tuple[str, ...] = ()  # empty: all
    default_instead_of: tuple[str, ...] = ()  # former defaults that this one may replace: the change is meant
    level: Level = Level.STATIC  # of qualification that a cell must pass before this stream carries it

    @property
    def label(self) -> str:
        """What stands in its packages' names where the stream does: ``branch-535-open``, ``latest-dkms``."""
        if self.branch is None:
            return self.name
        return f"branch-{self.branch}{self.flavor.suffix}{'-dkms' if self.kmods is Kmods.DKMS else ''}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Matrix:
    """The whole configuration, checked."""

    module: str  # name of the dnf module, "nvidia-driver"
    epoch: int  # of all driver packages
    vendor: str
    distributions: tuple[Distribution, ...]
    branches: tuple[Branch, ...]  # oldest first
    excludes: tuple[Exclude, ...]
    streams: tuple[Stream, ...]  # sorted by name
    cell_timeout: float = CELL_TIMEOUT  # seconds a cell or package may take before it is stopped
    integrity: Integrity = Integrity()
    advisory_prefix: str = "NVIDIA"  # what the ids of advisories begin with
    retention: RetentionRules = DEFAULT_RETENTION
    webhooks: tuple[Webhook, ...] = ()

    def distribution(self, name: str) -> Distribution:
        """The distribution of that name; raises KeyError."""
        for distribution in self.distributions:
            if distribution.name == name:
                return distribution
        raise KeyError(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pin:
    """What ``repobuild pin`` recorded of one source's really fetched bytes."""

    url: str
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Lock:
    """matrix.lock.yaml: pins by URL."""

    pins: tuple[Pin, ...] = ()

    def pin(self, url: str) -> Pin | None:
        """The pin of a URL, None when there is none."""
        return next((p for p in self.pins if p.url == url), None)
