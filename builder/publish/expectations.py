"""What is to hold: the kernels a stream serves, what its hosts ask for, and what they must not look like afterwards."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from builder.model.naming import COMPAT32_ARCHES
from builder.publish.module_checks import IndexedStream
from builder.publish.solvables import DKMS, DRIVER, GATE, KMOD, RELEASE, kernels_of, newest_driver, plays, version_of
from builder.publish.solver_pool import Generation, SolverPool

TOGETHER = 3  # kernels that a host keeps: dnf's installonly_limit


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamFacts:
    """What a stream's packages say, as texts."""

    offered: frozenset[str]
    newest: str | None  # driver version
    dkms: bool
    served: frozenset[str]  # kernels that packages of the newest driver name
    kmods: dict[str, str]  # kernel → name of its kmod package

    @classmethod
    def read(cls, generation: Generation, name: str) -> StreamFacts:
        """Ask every package of a stream once."""
        packages = generation.of(name)
        newest = newest_driver(packages)
        served: set[str] = set()
        kmods: dict[str, str] = {}
        for package in packages:
            kernels = tuple(kernels_of(package))
            if version_of(package) == newest:
                served.update(kernels)
            if package.name.startswith(KMOD):
                kmods |= dict.fromkeys(kernels, package.name)
        return cls(
            offered=frozenset(str(s) for s in packages),
            newest=newest,
            dkms=_is_dkms(generation, name),
            served=frozenset(served),
            kmods=kmods,
        )


class Expectations:
    """Of the generation to be published; read from its metadata alone."""

    def __init__(self, pool: SolverPool) -> None:
        self.pool = pool
        self.asked: dict[str, dict[str, tuple[str, ...]]] = {}
        self.known: dict[tuple[int, str], StreamFacts] = {}

    def facts(self, generation: Generation, name: str) -> StreamFacts:
        """What each transition asks of a stream, found out once: packages are many, and transitions more."""
        key = (id(generation), name)
        if key not in self.known:
            self.known[key] = StreamFacts.read(generation, name)
        return self.known[key]

    def is_dkms(self, name: str) -> bool:
        """Whether the hosts of a stream compile their modules."""
        return self.facts(self.pool.new, name).dkms

    def served(self, generation: Generation, name: str) -> list[str]:
        """Kernels that a stream's newest driver says it has modules for, oldest first; all where hosts build them."""
        facts = self.facts(generation, name)
        return [kernel for kernel in self.pool.kernels if facts.dkms or kernel in facts.served]

    def serves(self, name: str, kernels: Collection[str]) -> bool:
        """Whether all these are among those that the new generation's stream serves."""
        facts = self.facts(self.pool.new, name)
        return set(kernels) <= (self.pool.kernels.keys() if facts.dkms else facts.served)

    def sets(self, generation: Generation, name: str) -> list[tuple[str, ...]]:
        """Each kernel alone, and the newest ones together as hosts keep them."""
        served = self.served(generation, name)
        together: dict[str, list[str]] = {}
        for kernel in served:
            together.setdefault(self.pool.kernels[kernel].name, []).append(kernel)
        sets: list[tuple[str, ...]] = [(kernel,) for kernel in served]
        sets += [tuple(kernels[-TOGETHER:]) for kernels in together.values() if len(kernels) > 1]
        return sets

    def ways(self, generation: Generation, name: str) -> dict[str, tuple[str, ...]]:
        """What a stream's hosts can have asked for, by a name for it; "" is the default profile."""
        key = f"{id(generation)} {name}"
        if key in self.asked:
            return self.asked[key]
        stream = generation.streams[name]
        others = sorted((p, packages) for p, packages in stream.profiles.items() if p not in stream.default_profiles)
        ways = {"": _profile(stream), **{f"profile {p}": tuple(packages) for p, packages in others}}
        own = [s for s in generation.of(name) if version_of(s) == newest_driver(generation.of(name))]
        small = [f"{s.name}.{s.arch}" for s in own if s.arch in COMPAT32_ARCHES.values()]
        if small:
            ways["32-bit libraries"] = (*_profile(stream), *sorted(small))
        self.asked[key] = ways
        return ways

    def fault(self, installed: Sequence[Any], name: str, kernels: tuple[str, ...]) -> str | None:
        """What a host of stream ``name`` with ``kernels`` must not look like."""
        facts = self.facts(self.pool.new, name)
        foreign = [str(s) for s in installed if str(s) not in facts.offered]
        if foreign:
            return f"{foreign[0]} would stay, which the stream does not have"
        version = facts.newest
        if version is None:
            return f"the stream has no {DRIVER}"
        for package in installed:
            if version_of(package) != version:
                return f"{package} would be installed beside driver {version}"
        kmods = sorted(s.name for s in installed if s.name.startswith(KMOD) and not plays(s, DKMS))
        parts = (s for s in installed if not plays(s, RELEASE))
        if not kmods and not any(plays(s, GATE) or s.name.startswith(DRIVER) for s in parts):
            return None  # sources to read, or the like: nothing of the driver is there
        if self.is_dkms(name):
            return f"{kmods[0]} would stay beside {DKMS}" if kmods else None
        if self.pool.new.named:
            has = {k for s in installed if s.name in kmods for k in kernels_of(s)}
            return next((f"no module for {k}" for k in kernels if k not in has), None)
        absent = [k for k in kernels if facts.kmods.get(k) not in kmods]
        if absent:
            return f"no module for {absent[0]}"
        more = sorted(set(kmods) - {facts.kmods[k] for k in kernels})
        return f"{more[0]} would stay without its kernel" if more else None


def _is_dkms(generation: Generation, name: str) -> bool:
    return any(s.name == DKMS or (generation.named and plays(s, DKMS)) for s in generation.of(name))


def _profile(stream: IndexedStream) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rpm for p in stream.default_profiles for rpm in stream.profiles.get(p, ())))
