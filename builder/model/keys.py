"""What a key is made of, kept with each result so that a later key can be compared with it."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class KeyParts:
    """Everything that can change a unit's bytes."""

    spec: str  # rendered text
    sources: tuple[tuple[str, str], ...]  # (filename, sha256), sorted
    buildroot: str  # Buildroot.identity
    devel: str | None  # sha256 of the kernel-devel RPM; None for all but compilations
    macros: tuple[tuple[str, str], ...]  # rpm macros of the distribution, sorted by name
    dist: str  # dist tag
    payload: str
    epoch: int  # source date epoch, seconds
    recipe: str  # the builder's way of calling rpmbuild
    parts: tuple[tuple[str, str], ...] = ()  # (name, digest) of what else the unit is made of, sorted by name


@dataclass(frozen=True, slots=True, kw_only=True)
class Inputs:
    """The parts of a unit's key with what tells people which they are."""

    unit_id: str  # Unit.scope
    spec_name: str
    serial: int  # that the spec was rendered with
    parts: KeyParts
    modules: KeyParts | None  # of kmods: of what is compiled before it is packed
    devel: str | None  # name and EVR of the kernel-devel package
    packages: tuple[str, ...]  # of the buildroot: Buildroot.packages
    requirements: tuple[str, ...] = ()  # of compilations: "NEVRA sha256" of what came over it, devel package left out
