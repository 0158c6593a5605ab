"""Can every client go where it may want to? Each transition of a publication, solved by libsolv as dnf has it solved.

Nothing is taken from the matrix: what a client can do follows from metadata alone, so that is what is looked at. The
kernels are those that gates and kmod packages name; everything else that our packages need from a distribution is
taken as there (``verify --with-repo`` looks at that).
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import solv

from builder.model.cells import PackageKind
from builder.publish.expectations import TOGETHER, Expectations
from builder.publish.solvables import RELEASE, newest_driver, plays
from builder.publish.solver_pool import Generation, Refused, SolverPool


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """What was tried, and what a client could not do."""

    transitions: int
    faults: tuple[str, ...]  # each begins with the stream and names transition, kernels and the solver's reason


def prove_transitions(folder: Path, previous: Path | None) -> Proof:
    """Try every transition of the generation in ``folder``; ``previous`` is the one that clients have now.

    For each stream: each profile on its kernels, and the default one with the libraries for 32-bit programs; an upgrade
    from the previous generation; a switch to each other stream, from both generations; a kernel that appears with its
    module, and one that appears without. Each with CUDA installed, which must not change. Raises ToolError when the
    metadata cannot be read.
    """
    trials = _Trials(folder, previous)
    faults = [fault for name in trials.pool.new.streams for fault in trials.installs(name)]
    faults += [fault for name in trials.pool.new.streams for fault in trials.moves(name)]
    return Proof(transitions=trials.pool.count, faults=tuple(faults))


class _Trials:
    """What each host of each stream may try, one transition after another."""

    def __init__(self, folder: Path, previous: Path | None) -> None:
        self.pool = SolverPool(folder, previous)
        self.expected = Expectations(self.pool)
        self.broken: list[tuple[str, tuple[str, ...]]] = []  # stream and kernels that it cannot be installed on
        self.not_this_way: set[tuple[str, str]] = set()  # stream and way that it cannot be installed in
        self.fresh: dict[tuple[str, tuple[str, ...]], list[Any]] = {}

    def installs(self, name: str) -> Iterator[str]:
        """What clients cannot install of a stream; transitions to where they cannot are not tried."""
        sets = self.expected.sets(self.pool.new, name)
        for kernels in sets or [()]:
            if any(set(kernels) >= set(broken) for of, broken in self.broken if of == name):
                continue
            try:
                fault = self.expected.fault(self._installed(self.pool.new, name, kernels), name, kernels)
            except Refused as exc:
                fault = str(exc)
            if not fault and not kernels:
                fault = f"driver {newest_driver(self.pool.new.of(name))} has a module for no kernel"
            if fault:
                self.broken.append((name, kernels))
                yield f"{name}: install on {_list(kernels)}: {fault}"
        if self._possible(name, sets[-1] if sets else ()):
            for way, packages in self.expected.ways(self.pool.new, name).items():
                what = f"{name}: install {way or 'default profile'}"
                for fault in self._try(what, [], sets[-1], name, self.pool.install(packages), cuda=False):
                    self.not_this_way.add((name, way))
                    yield fault

    def moves(self, name: str) -> Iterator[str]:
        """What hosts cannot do that have the stream from this publication, or from the one before."""
        for generation, which in ((self.pool.new, ""), (self.pool.old, "of the publication before ")):
            if name not in generation.streams:
                continue
            served = set(self.expected.served(generation, name))
            sets = [kernels for kernels in self.expected.sets(self.pool.new, name) if set(kernels) <= served]
            for kernels in sets:
                ways = self.expected.ways(generation, name) if kernels == sets[-1] else {"": ()}
                for way in ways:
                    with suppress(Refused):  # the publication before could not; this one is told of by installs()
                        start = self._installed(generation, name, kernels, way)
                        yield from self._from(name, which, start, kernels, way)
        yield from self._kernel_comes(name)

    def _possible(self, name: str, kernels: Collection[str]) -> bool:
        return self.expected.serves(name, kernels) and not any(
            set(kernels) >= set(broken) for of, broken in self.broken if of == name
        )

    def _has(self, name: str, way: str) -> bool:
        return way in self.expected.ways(self.pool.new, name) and (name, way) not in self.not_this_way

    def _from(
        self,
        name: str,
        which: str,
        start: Sequence[Any],
        kernels: tuple[str, ...],
        way: str,
    ) -> Iterator[str]:
        """From a host that has the stream in some way: upgrade, and switch to each other stream that has it too."""
        which = f"{which}with {way} " if way else which
        if self._possible(name, kernels):
            yield from self._try(f"{name} {which}upgrade", start, kernels, name, self.pool.upgrade(best=True))
        for other in self.pool.new.streams:
            if other != name and self._possible(other, kernels) and self._has(other, way):
                what = f"{name} {which}→ {other}: switch"
                if self.pool.new.named:
                    yield from self._try(what, start, kernels, other, self._swap(start, other, way), erase=True)
                    continue
                jobs = self._sync(start) if self.pool.new.trees else self._switch(start, other, kernels, way)
                yield from self._try(what, start, kernels, other, jobs)

    def _switch(self, start: Sequence[Any], name: str, kernels: tuple[str, ...], way: str) -> list[Any]:
        """``dnf module switch-to``: distro-sync of each name in the old or new stream, and the profile.

        Of the former's names those count that are installed, of the latter's those that could be.
        """
        names = {s.name for s in (*start, *self.pool.new.visible(name, kernels))}
        sync = [self.pool.job(solv.Job.SOLVER_DISTUPGRADE, package) for package in sorted(names)]
        return [*sync, *self.pool.install(self.expected.ways(self.pool.new, name)[way])]

    def _sync(self, start: Sequence[Any]) -> list[Any]:
        """``nvidia-driver-stream``: distro-sync of each package of ours that is installed, in the other tree."""
        return [self.pool.job(solv.Job.SOLVER_DISTUPGRADE, name) for name in sorted({s.name for s in start})]

    def _swap(self, start: Sequence[Any], name: str, way: str) -> list[Any]:
        """``yum swap <former stream>-release <packages>``: what requires the former stream's release leaves with it."""
        leaving = [self.pool.job(solv.Job.SOLVER_ERASE, s.name) for s in start if plays(s, RELEASE)]
        return [*leaving, *self.pool.install(self.expected.ways(self.pool.new, name)[way])]

    def _kernel_comes(self, name: str) -> Iterator[str]:
        """A newer kernel, first with its module and then without. What cannot even be installed is told elsewhere."""
        served = self.expected.served(self.pool.new, name)
        for package in sorted({self.pool.kernels[k].name for k in served}):
            own = [k for k in served if self.pool.kernels[k].name == package]
            here, newest = tuple(own[:-1][-(TOGETHER - 1) :]), own[-1]
            with suppress(Refused):
                if here:
                    start = self._installed(self.pool.new, name, here)
                    what = f"{name}: {newest} appears with its module"
                    jobs = self.pool.upgrade(best=True)
                    yield from self._try(what, start, (*here, newest), name, jobs, had=here)
                yield from self._kernel_comes_with_publication(name, own)
            with suppress(Refused):
                if not self.expected.is_dkms(name):
                    start = self._installed(self.pool.new, name, (newest,))
                    yield from self._kernel_without_module(name, start, newest)

    def _kernel_comes_with_publication(self, name: str, own: Sequence[str]) -> Iterator[str]:
        """The newest of the kernels ``own`` of one package comes together with its module."""
        before = self.expected.served(self.pool.old, name) if name in self.pool.old.streams else [own[-1]]
        if own[-1] not in before:
            had = tuple(k for k in own if k in before)[-(TOGETHER - 1) :]
            start = self._installed(self.pool.old, name, had)
            what = f"{name} of the publication before: {own[-1]} appears with its module"
            yield from self._try(what, start, (*had, own[-1]), name, self.pool.upgrade(best=True), had=had)

    def _kernel_without_module(self, name: str, start: Sequence[Any], newest: str) -> Iterator[str]:
        coming = self.pool.coming[self.pool.kernels[newest].name]
        for best in (True, False):
            what = f"{name}: {coming} appears without a module, best={int(best)}"
            had = [*self.pool.world((newest,)), *self.pool.cuda, *start]
            try:
                after = self.pool.solve(
                    had, [*self.pool.new.visible(name, (newest,)), coming], self.pool.upgrade(best=best)
                )
                fault = "it would be installed, and the GPU gone with the next boot" if coming in after else ""
            except Refused as exc:
                fault = "" if best else str(exc)  # with best=1 that is how dnf keeps the kernel back
            if fault:
                yield f"{what}: {fault}"

    def _try(
        self,
        what: str,
        start: Sequence[Any],
        kernels: tuple[str, ...],
        name: str,
        jobs: Sequence[Any],
        *,
        had: tuple[str, ...] | None = None,
        cuda: bool = True,
        erase: bool = False,
    ) -> Iterator[str]:
        """One transition that must work: to stream ``name`` with ``kernels``, of which ``had`` were there before."""
        world = [*self.pool.world(kernels if had is None else had), *(self.pool.cuda if cuda else [])]
        visible = [*self.pool.new.visible(name, kernels), *(self.pool.kernels[k] for k in kernels)]
        try:
            after = self.pool.solve([*world, *start], visible, jobs, erase=erase)
            gone = [str(s) for s in world if s not in after]
            missing = [k for k in kernels if self.pool.kernels[k] not in after]
            fault: str | None
            if gone:
                fault = f"{gone[0]} would be removed"
            elif missing:
                fault = f"{missing[0]} would not be installed"
            else:
                fault = self.expected.fault(self.pool.ours(after), name, kernels)
        except Refused as exc:
            fault = str(exc)
        if fault:
            yield f"{what} on {_list(kernels)}: {fault}"

    def _installed(self, generation: Generation, name: str, kernels: tuple[str, ...], way: str = "") -> list[Any]:
        """What a host has of ours after installing a stream in some way, by its default profile unless one is given."""
        key = (f"{id(generation)} {name} {way}", kernels)
        if key not in self.fresh:
            names = [*self.expected.ways(generation, name)[way], *(s.name for s in self.pool.cuda)]
            names += [PackageKind.RELEASE.value] if generation.trees else []
            visible = [*generation.visible(name, kernels), *self.pool.cuda]
            self.fresh[key] = self.pool.ours(
                self.pool.solve(self.pool.world(kernels), visible, self.pool.install(names))
            )
        return self.fresh[key]


def _list(kernels: Sequence[str]) -> str:
    return ", ".join(kernels) or "no kernel"
