"""What buildroots are made from, for any builder; apart from the matrix, so that a build's inner side starts fast."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class RepositoryRef:
    """A dnf repository that buildroots are made from."""

    id: str
    baseurl: str  # file://, http:// or https://; $releasever and $basearch as dnf expands them
    gpgcheck: bool = True
    gpgkey: str | None = None  # URL or path of the public key


@dataclass(frozen=True, slots=True, kw_only=True)
class Chroot:
    """Description of a buildroot for any builder; its mock form is rendered from mock-configs/."""

    name: str  # e.g. "el9-x86_64"
    template: str  # file below mock-configs/
    arch: str
    releasever: str
    packages: tuple[str, ...]  # what the base holds before build requirements
    repositories: tuple[RepositoryRef, ...]
    macros: tuple[tuple[str, str], ...] = ()  # rpm macros of the distribution, sorted by name
    template_text: str = field(default="", repr=False)  # what the template's file says; empty: the packaged one
