"""What is to hold: the kernels a stream serves, what its hosts ask for, and what they must not look like afterwards."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from builder.model.naming import COMPAT32_ARCHES
from builder.publish.module_checks import IndexedStream
from builder.publish.solvables import DKMS, DRIVER, GATE, KMOD, kernels_of, newest_driver, version_of
from builder.publish.solver_pool import Generation, SolverPool

TOGETHER = 3  # kernels that a host keeps: dnf's installonly_limit


class Expectations:
    """Of the generation to be published; read from its metadata alone."""

    def __init__(self, pool: SolverPool) -> None:
        self.pool = pool
        self.asked: dict[str, dict[str, tuple[str, ...]]] = {}

    def is_dkms(self, name: str) -> bool:
        """Whether the hosts of a stream compile their modules."""
        return any(s.name == DKMS for s in self.pool.new.of(name))

    def served(self, generation: Generation, name: str) -> list[str]:
        """Kernels that a stream's newest driver says it has modules for, oldest first; all where hosts build them."""
        if any(s.name == DKMS for s in generation.of(name)):
            return list(self.pool.kernels)
        newest = newest_driver(generation.of(name))
        own = {k for s in generation.of(name) if version_of(s) == newest for k in kernels_of(s)}
        return [kernel for kernel in self.pool.kernels if kernel in own]

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
        offered = {str(s) for s in self.pool.new.of(name)}
        foreign = [str(s) for s in installed if str(s) not in offered]
        if foreign:
            return f"{foreign[0]} would stay, which the stream does not have"
        version = newest_driver(self.pool.new.of(name))
        if version is None:
            return f"the stream has no {DRIVER}"
        for package in installed:
            if version_of(package) != version:
                return f"{package} would be installed beside driver {version}"
        kmods = sorted(s.name for s in installed if s.name.startswith(KMOD))
        if not kmods and not any(s.name == GATE or s.name.startswith(DRIVER) for s in installed):
            return None  # sources to read, or the like: nothing of the driver is there
        if self.is_dkms(name):
            return f"{kmods[0]} would stay beside {DKMS}" if kmods else None
        wanted = {k: s.name for s in self.pool.new.of(name) if s.name.startswith(KMOD) for k in kernels_of(s)}
        absent = [k for k in kernels if wanted.get(k) not in kmods]
        if absent:
            return f"no module for {absent[0]}"
        more = sorted(set(kmods) - {wanted[k] for k in kernels})
        return f"{more[0]} would stay without its kernel" if more else None


def _profile(stream: IndexedStream) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rpm for p in stream.default_profiles for rpm in stream.profiles.get(p, ())))
