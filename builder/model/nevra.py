"""RPM identities: EVR and NEVRA (rpm's own definitions: rpm-version(7))."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache, total_ordering
from threading import Lock

import solv


@total_ordering
@dataclass(frozen=True, slots=True, kw_only=True)
class Evr:
    """Epoch, version, release; compared as rpm compares (libsolv's ``evrcmp``)."""

    epoch: int = 0
    version: str
    release: str

    def __str__(self) -> str:
        """``version-release``, with ``epoch:`` before it where the epoch is not 0."""
        return self.full if self.epoch else f"{self.version}-{self.release}"

    @property
    def full(self) -> str:
        """``epoch:version-release``, the epoch always written (modulemd artifacts need it)."""
        return f"{self.epoch}:{self.version}-{self.release}"

    def __lt__(self, other: Evr) -> bool:
        return compare_evr(self.full, other.full) < 0

    @classmethod
    def parse(cls, text: str) -> Evr:
        """Read ``[epoch:]version-release``; raises ValueError for anything else."""
        head, colon, rest = text.partition(":")
        epoch, rest = (head, rest) if colon else ("0", text)
        version, dash, release = rest.rpartition("-")
        if not (dash and version and release and epoch.isdigit() and "-" not in version):
            raise ValueError(f"{text!r} is not [epoch:]version-release")
        return cls(epoch=int(epoch), version=version, release=release)


# libsolv's comparison is a method of a solvable, so two of an empty pool carry the strings.
_POOL = solv.Pool()
_LEFT, _RIGHT = (_POOL.add_repo("evr").add_solvable() for _ in range(2))
_COMPARING = Lock()


@cache
def compare_evr(left: str, right: str) -> int:
    """-1, 0 or 1 as rpm orders two ``[epoch:]version[-release]`` strings."""
    with _COMPARING:
        _LEFT.evr, _RIGHT.evr = left, right
        return int(_LEFT.evrcmp(_RIGHT))


@dataclass(frozen=True, slots=True, kw_only=True)
class Nevra:
    """Name, EVR, architecture of one RPM, read from its header, never from its file name."""

    name: str
    evr: Evr
    arch: str  # "src" for a source package

    def __str__(self) -> str:
        return f"{self.name}-{self.evr}.{self.arch}"

    @property
    def artifact(self) -> str:
        """As modulemd's ``data.artifacts.rpms`` wants it: the epoch always written."""
        return f"{self.name}-{self.evr.full}.{self.arch}"

    @property
    def filename(self) -> str:
        """rpm's default file name; unique in a publication because name-version-release is."""
        return f"{self.name}-{self.evr.version}-{self.evr.release}.{self.arch}.rpm"
