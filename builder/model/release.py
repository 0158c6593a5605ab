"""What a run recorded of one driver release on one distribution × arch, for provenance and SBOM."""

from __future__ import annotations

from dataclasses import dataclass

from builder.model.nevra import Nevra


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseSource:
    """A source as matrix.lock.yaml pins it."""

    filename: str
    kind: str  # run, open-source, fabricmanager …
    url: str | None  # None where it lies beside matrix.yaml
    sha256: str
    size: int  # bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseKernel:
    """A kernel that modules were built for, and with what."""

    release: str
    package: str  # name and EVR of the kernel-devel package
    sha256: str | None  # of the kernel-devel RPM; None where the result has no record of it
    compiler: str | None  # what built the kernel, as it says itself


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleasePackage:
    """A published RPM."""

    nevra: Nevra
    sha256: str  # signed
    size: int  # bytes
    license: str  # of its header
    summary: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ReleaseUnit:
    """One build as it was recorded beside its result; None where an earlier repobuild recorded nothing."""

    id: str
    key: str  # digest of all inputs
    serial: int
    builder: str | None  # the builder's recipe: "buildroot 1"
    spec: str | None  # sha256 of the rendered spec
    sources: tuple[tuple[str, str], ...]  # (filename, sha256) of what rpmbuild was given
    buildroot: str | None  # identity: digest over its packages
    kernel: str | None  # uname -r
    packages: tuple[ReleasePackage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriverRelease:
    """A driver version as it is published."""

    name: str  # of the module: nvidia-driver
    vendor: str
    version: str
    branch: str
    distribution: str
    dist_tag: str
    arch: str
    epoch: int  # seconds: the date of its sources
    sources: tuple[ReleaseSource, ...]  # sorted by file name
    kernels: tuple[ReleaseKernel, ...]  # sorted by release
    units: tuple[ReleaseUnit, ...]  # sorted by id
    buildroots: tuple[tuple[str, tuple[str, ...]], ...]  # (identity, packages), sorted

    @property
    def packages(self) -> tuple[ReleasePackage, ...]:
        """All RPMs, by file name."""
        return tuple(sorted((p for u in self.units for p in u.packages), key=lambda p: p.nevra.filename))
