"""Can every client go where it may want to? Each transition of a publication, solved by libsolv as dnf has it solved.

Nothing is taken from the matrix: what a client can do follows from metadata alone, so that is what is looked at. The
kernels are those that gates and kmod packages name; everything else that our packages need from a distribution is
taken as there (``verify --with-repo`` looks at that).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import cmp_to_key
from pathlib import Path
from typing import Any

import solv

from builder.errors import ToolError
from builder.model.cells import PackageKind
from builder.model.naming import COMPAT32_ARCHES, SERVED, repository_arch
from builder.publish.generations import RECORD
from builder.publish.module_checks import OWN, IndexedStream, read_index
from builder.publish.trees import read_named_streams, read_trees
from builder.tools.createrepo import read_repomd

# Whatever a package is called, it provides one of these names.
_DRIVER, _DKMS, _CUDA_DRIVERS, _RELEASE = "nvidia-driver", "dkms-nvidia", "cuda-drivers", PackageKind.RELEASE.value
_GATE, _KMOD = "nvidia-kmod-common", "kmod-nvidia-"
_TOGETHER = 3  # kernels that a host keeps: dnf's installonly_limit
_ATOM = re.compile(r"(?P<name>[^\s()]+(?:\([^\s()]*\))*)(?:\s*(?P<sign><=|>=|=|<|>)\s*(?P<evr>[^\s()]+))?")
_SERVES = re.compile(rf"{SERVED}\((\S+)\)( = \S+)")  # a package with the modules of many kernels provides it for each
_IF_KERNEL = re.compile(r" if (\S+ = [^\s()]+)\)$")  # a gate requires (its module if a kernel)
_JOINS = frozenset({"and", "or", "with", "without", "else", "if", "unless"})
_DEPENDENCIES = (
    solv.SOLVABLE_PROVIDES,
    solv.SOLVABLE_REQUIRES,
    solv.SOLVABLE_CONFLICTS,
    solv.SOLVABLE_OBSOLETES,
    solv.SOLVABLE_RECOMMENDS,
    solv.SOLVABLE_SUPPLEMENTS,
)
# As libsolv is built for Fedora and EL: packages of one name and two architectures lie side by side.
_POOL_FLAGS = ("POOL_FLAG_OBSOLETEUSESCOLORS", "POOL_FLAG_IMPLICITOBSOLETEUSESCOLORS")
# As libdnf sets them (libdnf/goal/Goal.cpp, init_solver).
_FLAGS = (
    "SOLVER_FLAG_KEEP_ORPHANS",
    "SOLVER_FLAG_BEST_OBEY_POLICY",
    "SOLVER_FLAG_YUM_OBSOLETES",
    "SOLVER_FLAG_ALLOW_VENDORCHANGE",
    "SOLVER_FLAG_DUP_ALLOW_VENDORCHANGE",
)


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
    faults = [fault for name in trials.new.streams for fault in trials.installs(name)]
    faults += [fault for name in trials.new.streams for fault in trials.moves(name)]
    return Proof(transitions=trials.count, faults=tuple(faults))


@dataclass(slots=True, kw_only=True, repr=False)  # libsolv's objects must not be printed once their pool is gone
class _Generation:
    """One generation in the pool."""

    streams: dict[str, IndexedStream]
    packages: dict[str, dict[str, Any]]  # stream → artifact → solvable; a tree of its own has solvables of its own
    trees: bool = False  # a metadata tree a stream instead of module documents
    named: bool = False  # the stream stands in package names: hosts see all streams

    def of(self, stream: str) -> list[Any]:
        """The solvables of a stream."""
        packages = self.packages[stream]
        return [packages[a] for a in sorted(self.streams[stream].artifacts) if a in packages]

    def all(self) -> list[Any]:
        """The solvables of all streams, each once."""
        return list({s.id: s for stream in self.streams for s in self.of(stream)}.values())


class _Refused(Exception):  # noqa: N818  never leaves this file
    """The solver found no way."""


class _Trials:
    """A pool with both generations, the kernels and a stand-in for the rest of a distribution."""

    def __init__(self, folder: Path, previous: Path | None) -> None:
        self.count = 0
        self.pool = solv.Pool()
        self.pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        for flag in _POOL_FLAGS:
            self.pool.set_flag(getattr(solv.Pool, flag), 1)
        self.new = self._load(folder)
        self.old = self._load(previous) if previous is not None else _Generation(streams={}, packages={})
        self.newest: dict[tuple[int, str], str | None] = {}
        self.provided: dict[int, frozenset[str]] = {}
        if (self.old.trees, self.old.named) != (self.new.trees, self.new.named):
            # Hosts of the one delivery do not see the other.
            self.old = _Generation(streams={}, packages={})
        everything = [*self.new.all(), *self.old.all()]
        self.arch = repository_arch(s.arch for s in everything) or "noarch"
        self.pool.setarch(self.arch)
        self.others = self.pool.add_repo("distribution")
        self.kernels = self._kernels(everything)
        self.base = self._base(everything)
        served = any(self._plays(s, _CUDA_DRIVERS) for s in everything)
        self.cuda = [self._made("cuda", "1-1", requires=[_CUDA_DRIVERS])] if served else []
        self.coming = {name: self._coming(name) for name in {s.name for s in self.kernels.values()}}
        self.broken: list[tuple[str, tuple[str, ...]]] = []  # stream and kernels that it cannot be installed on
        self.not_this_way: set[tuple[str, str]] = set()  # stream and way that it cannot be installed in
        self.asked: dict[str, dict[str, tuple[str, ...]]] = {}
        self.fresh: dict[tuple[str, tuple[str, ...]], list[Any]] = {}

    # The pool

    def _load(self, folder: Path) -> _Generation:
        record = folder / RECORD
        try:
            text = record.read_bytes() if record.is_file() else b"{}"
            trees, named = read_trees(text), read_named_streams(text)
        except ValueError as exc:
            raise ToolError(f"{record}: {exc}") from exc
        if not trees:
            index = named[0] if named else read_index(folder)
            streams = {s.name: s for s in index.streams}
            packages = dict.fromkeys(streams, self._packages(folder))
            return _Generation(streams=streams, packages=packages, named=bool(named))
        packages = {tree.name: self._packages(folder / tree.folder) for tree in trees}
        return _Generation(
            streams={
                tree.name: IndexedStream(
                    name=tree.name,
                    artifacts=frozenset(packages[tree.name]),
                    profiles=tree.profiles,
                    default_profiles=(tree.default_profile,),
                )
                for tree in trees
            },
            packages=packages,
            trees=True,
        )

    def _packages(self, folder: Path) -> dict[str, Any]:
        """The solvables of one repository by artifact."""
        hrefs = {record.type: record.href for record in read_repomd(folder / "repodata/repomd.xml")}
        repo = self.pool.add_repo(str(folder))
        handle = solv.xfopen(str(folder / hrefs["primary"]))
        repo.add_rpmmd(handle, None, 0)
        handle.close()
        return {f"{s.name}-{s.evr if ':' in s.evr else '0:' + s.evr}.{s.arch}": s for s in repo.solvables}

    def _made(self, name: str, evr: str, *, requires: Iterable[str] = (), provides: Iterable[str] = ()) -> Any:
        made = self.others.add_solvable()
        made.name, made.evr, made.arch = name, evr, self.arch
        made.add_deparray(solv.SOLVABLE_PROVIDES, self.pool.parserpmrichdep(f"({name} = {evr})"))
        for text in provides:
            made.add_deparray(solv.SOLVABLE_PROVIDES, self._dependency(text))
        for text in requires:
            made.add_deparray(solv.SOLVABLE_REQUIRES, self._dependency(text))
        return made

    def _dependency(self, text: str) -> Any:
        return self.pool.parserpmrichdep(f"({text})") if " " in text else self.pool.Dep(text)

    def _kernels(self, packages: Sequence[Any]) -> dict[str, Any]:
        """By the text that packages name them with, ``kernel-core = 5.14.0-503.11.1.el9_5``; oldest first."""
        texts = {kernel for package in packages for kernel in _kernels_of(package)}
        made = {}
        for text in texts:
            name, _, evr = text.split()
            made[text] = self._made(name, evr)
        return dict(sorted(made.items(), key=lambda item: (item[1].name, _BY_EVR(item[1]))))

    def _coming(self, name: str) -> Any:
        """A kernel that is newer than all there are, and has no module."""
        newest = [s for s in self.kernels.values() if s.name == name][-1]
        return self._made(name, f"{newest.evr}.9999")

    def _base(self, packages: Sequence[Any]) -> Any:
        """One package that provides what ours need of a distribution."""
        kernels = {s.name for s in self.kernels.values()}
        wanted = {
            atom
            for package in packages
            for dependency in _requirements(package)
            for atom in _atoms(str(dependency))
            if not atom.startswith(("rpmlib(", *OWN)) and atom.split()[0] not in kernels
        }
        offered = {str(d).split()[0] for p in packages for d in p.lookup_deparray(solv.SOLVABLE_PROVIDES)}
        return self._made(
            "distribution", "1-1", provides=sorted(_offer(a) for a in wanted if a.split()[0] not in offered)
        )

    def _plays(self, package: Any, role: str) -> bool:
        """Whether a package is what is called ``role`` where no stream stands in its name."""
        if package.id not in self.provided:
            names = (str(d).split()[0] for d in package.lookup_deparray(solv.SOLVABLE_PROVIDES))
            self.provided[package.id] = frozenset(names)
        return role in self.provided[package.id]

    def _visible(self, generation: _Generation, name: str) -> list[Any]:
        """What hosts of a stream see of a publication."""
        return generation.all() if generation.named else generation.of(name)

    # Solving

    def _solve(
        self, installed: Sequence[Any], visible: Sequence[Any], jobs: Sequence[Any], *, erase: bool = False
    ) -> list[Any]:
        """What a host has afterwards that had ``installed`` and sees ``visible``; raises _Refused with the reason.

        ``erase``: packages may leave for it, as with ``swap``.
        """
        self.count += 1
        system = self.pool.add_repo("@System")
        copies = {_copy(package, system).id: package for package in installed}
        self.pool.installed = system
        try:
            self.pool.set_disabled_list([])  # frees the former list, which was made for fewer solvables than are there
            self.pool.set_considered_list([*(s.id for s in visible), *copies])
            self.pool.addfileprovides()
            self.pool.createwhatprovides()
            solver = self.pool.Solver()
            for flag in _FLAGS:
                solver.set_flag(getattr(solv.Solver, flag), 1)
            if erase:
                solver.set_flag(solv.Solver.SOLVER_FLAG_ALLOW_UNINSTALL, 1)
            side_by_side = [self._job(solv.Job.SOLVER_MULTIVERSION, name) for name in sorted(self.coming)]
            problems = solver.solve([*side_by_side, *jobs])
            if problems:
                raise _Refused("; ".join(dict.fromkeys(_reason(problem) for problem in problems)))
            transaction = solver.transaction()
            kept = [copies[s.id] for s in transaction.keptsolvables() if s.id in copies]
            return kept + list(transaction.newsolvables())
        finally:
            self.pool.installed = None
            system.free(True)

    def _job(self, how: int, name: str) -> Any:
        return self.pool.Job(how | solv.Job.SOLVER_SOLVABLE_NAME, self.pool.str2id(name))

    def _install(self, names: Iterable[str]) -> list[Any]:
        """By name, or name.arch for 32-bit packages."""
        how = solv.Job.SOLVER_INSTALL | solv.Job.SOLVER_FORCEBEST | solv.Job.SOLVER_SOLVABLE_NAME
        jobs = []
        for text in names:
            name, _, arch = text.rpartition(".")
            if arch in COMPAT32_ARCHES.values():
                wanted = self.pool.rel2id(self.pool.str2id(name), self.pool.str2id(arch), solv.REL_ARCH)
            else:
                wanted = self.pool.str2id(text)
            jobs.append(self.pool.Job(how, wanted))
        return jobs

    def _upgrade(self, *, best: bool) -> list[Any]:
        how = solv.Job.SOLVER_UPDATE | solv.Job.SOLVER_SOLVABLE_ALL | (solv.Job.SOLVER_FORCEBEST if best else 0)
        return [self.pool.Job(how, 0)]

    # Transitions

    def installs(self, name: str) -> Iterator[str]:
        """What clients cannot install of a stream; transitions to where they cannot are not tried."""
        sets = self._sets(self.new, name)
        for kernels in sets or [()]:
            if any(set(kernels) >= set(broken) for of, broken in self.broken if of == name):
                continue
            try:
                fault = self._fault(self._installed(self.new, name, kernels), name, kernels)
            except _Refused as exc:
                fault = str(exc)
            if not fault and not kernels:
                fault = f"driver {self._newest(self.new, name)} has a module for no kernel"
            if fault:
                self.broken.append((name, kernels))
                yield f"{name}: install on {_list(kernels)}: {fault}"
        if self._possible(name, sets[-1] if sets else ()):
            for way, packages in self._ways(self.new, name).items():
                what = f"{name}: install {way or 'default profile'}"
                for fault in self._try(what, [], sets[-1], name, self._install(packages), cuda=False):
                    self.not_this_way.add((name, way))
                    yield fault

    def moves(self, name: str) -> Iterator[str]:
        """What hosts cannot do that have the stream from this publication, or from the one before."""
        for generation, which in ((self.new, ""), (self.old, "of the publication before ")):
            if name not in generation.streams:
                continue
            served = set(self._served(generation, name))
            sets = [kernels for kernels in self._sets(self.new, name) if set(kernels) <= served]
            for kernels in sets:
                ways = self._ways(generation, name) if kernels == sets[-1] else {"": ()}
                for way in ways:
                    with suppress(_Refused):  # the publication before could not; this one is told of by installs()
                        start = self._installed(generation, name, kernels, way)
                        yield from self._from(generation.streams[name], which, start, kernels, way)
        yield from self._kernel_comes(name)

    def _possible(self, name: str, kernels: Collection[str]) -> bool:
        served = set(kernels) <= set(self._served(self.new, name))
        return served and not any(set(kernels) >= set(broken) for of, broken in self.broken if of == name)

    def _ways(self, generation: _Generation, name: str) -> dict[str, tuple[str, ...]]:
        """What a stream's hosts can have asked for, by a name for it; "" is the default profile."""
        key = f"{id(generation)} {name}"
        if key in self.asked:
            return self.asked[key]
        stream = generation.streams[name]
        others = sorted((p, packages) for p, packages in stream.profiles.items() if p not in stream.default_profiles)
        ways = {"": _profile(stream), **{f"profile {p}": tuple(packages) for p, packages in others}}
        own = [s for s in generation.of(name) if _version(s) == self._newest(generation, name)]
        small = [f"{s.name}.{s.arch}" for s in own if s.arch in COMPAT32_ARCHES.values()]
        if small:
            ways["32-bit libraries"] = (*_profile(stream), *sorted(small))
        self.asked[key] = ways
        return ways

    def _has(self, name: str, way: str) -> bool:
        return way in self._ways(self.new, name) and (name, way) not in self.not_this_way

    def _from(
        self,
        stream: IndexedStream,
        which: str,
        start: Sequence[Any],
        kernels: tuple[str, ...],
        way: str,
    ) -> Iterator[str]:
        """From a host that has the stream in some way: upgrade, and switch to each other stream that has it too."""
        name, which = stream.name, f"{which}with {way} " if way else which
        if self._possible(name, kernels):
            yield from self._try(f"{name} {which}upgrade", start, kernels, name, self._upgrade(best=True))
        for other in self.new.streams:
            if other != name and self._possible(other, kernels) and self._has(other, way):
                what = f"{name} {which}→ {other}: switch"
                if self.new.named:
                    yield from self._try(what, start, kernels, other, self._swap(start, other, way), erase=True)
                    continue
                jobs = self._sync(start) if self.new.trees else self._switch(stream, other, way)
                yield from self._try(what, start, kernels, other, jobs)

    def _switch(self, before: IndexedStream, name: str, way: str) -> list[Any]:
        """``dnf module switch-to``: distro-sync of each name in the old or new stream, and the profile."""
        after = self.new.streams[name]
        names = {artifact.rsplit("-", 2)[0] for artifact in before.artifacts | after.artifacts}
        sync = [self._job(solv.Job.SOLVER_DISTUPGRADE, package) for package in sorted(names)]
        return [*sync, *self._install(self._ways(self.new, name)[way])]

    def _sync(self, start: Sequence[Any]) -> list[Any]:
        """``nvidia-driver-stream``: distro-sync of each package of ours that is installed, in the other tree."""
        return [self._job(solv.Job.SOLVER_DISTUPGRADE, name) for name in sorted({s.name for s in start})]

    def _swap(self, start: Sequence[Any], name: str, way: str) -> list[Any]:
        """``yum swap <former stream>-release <packages>``: what requires the former stream's release leaves with it."""
        how = solv.Job.SOLVER_ERASE | solv.Job.SOLVER_SOLVABLE_NAME
        leaving = [self.pool.Job(how, s.nameid) for s in start if self._plays(s, _RELEASE)]
        return [*leaving, *self._install(self._ways(self.new, name)[way])]

    def _kernel_comes(self, name: str) -> Iterator[str]:
        """A newer kernel, first with its module and then without. What cannot even be installed is told elsewhere."""
        served = self._served(self.new, name)
        for package in sorted({self.kernels[k].name for k in served}):
            own = [k for k in served if self.kernels[k].name == package]
            here, newest = tuple(own[:-1][-(_TOGETHER - 1) :]), own[-1]
            with suppress(_Refused):
                if here:
                    start = self._installed(self.new, name, here)
                    what = f"{name}: {newest} appears with its module"
                    jobs = self._upgrade(best=True)
                    yield from self._try(what, start, (*here, newest), name, jobs, had=here)
                before = self._served(self.old, name) if name in self.old.streams else [newest]
                if newest not in before:
                    had = tuple(k for k in own if k in before)[-(_TOGETHER - 1) :]
                    start = self._installed(self.old, name, had)
                    what = f"{name} of the publication before: {newest} appears with its module"
                    yield from self._try(what, start, (*had, newest), name, self._upgrade(best=True), had=had)
            with suppress(_Refused):
                if not self._is_dkms(name):
                    start = self._installed(self.new, name, (newest,))
                    yield from self._kernel_without_module(name, start, newest)

    def _kernel_without_module(self, name: str, start: Sequence[Any], newest: str) -> Iterator[str]:
        coming = self.coming[self.kernels[newest].name]
        for best in (True, False):
            what = f"{name}: {coming} appears without a module, best={int(best)}"
            had = [*self._world((newest,)), *self.cuda, *start]
            try:
                after = self._solve(had, [*self._visible(self.new, name), coming], self._upgrade(best=best))
                fault = "it would be installed, and the GPU gone with the next boot" if coming in after else ""
            except _Refused as exc:
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
        world = [*self._world(kernels if had is None else had), *(self.cuda if cuda else [])]
        visible = [*self._visible(self.new, name), *(self.kernels[k] for k in kernels)]
        try:
            after = self._solve([*world, *start], visible, jobs, erase=erase)
            gone = [str(s) for s in world if s not in after]
            missing = [k for k in kernels if self.kernels[k] not in after]
            fault: str | None
            if gone:
                fault = f"{gone[0]} would be removed"
            elif missing:
                fault = f"{missing[0]} would not be installed"
            else:
                fault = self._fault(self._ours(after), name, kernels)
        except _Refused as exc:
            fault = str(exc)
        if fault:
            yield f"{what} on {_list(kernels)}: {fault}"

    # What must be there

    def _fault(self, installed: Sequence[Any], name: str, kernels: tuple[str, ...]) -> str | None:
        """What a host of stream ``name`` with ``kernels`` must not look like."""
        offered = {str(s) for s in self.new.of(name)}
        foreign = [str(s) for s in installed if str(s) not in offered]
        if foreign:
            return f"{foreign[0]} would stay, which the stream does not have"
        version = self._newest(self.new, name)
        if version is None:
            return f"the stream has no {_DRIVER}"
        for package in installed:
            if _version(package) != version:
                return f"{package} would be installed beside driver {version}"
        kmods = sorted(s.name for s in installed if s.name.startswith(_KMOD) and not self._plays(s, _DKMS))
        parts = (s for s in installed if not self._plays(s, _RELEASE))
        if not kmods and not any(self._plays(s, _GATE) or s.name.startswith(_DRIVER) for s in parts):
            return None  # sources to read, or the like: nothing of the driver is there
        if self._is_dkms(name):
            return f"{kmods[0]} would stay beside {_DKMS}" if kmods else None
        if self.new.named:
            has = {k for s in installed if s.name in kmods for k in _kernels_of(s)}
            return next((f"no module for {k}" for k in kernels if k not in has), None)
        wanted = {k: s.name for s in self.new.of(name) if s.name.startswith(_KMOD) for k in _kernels_of(s)}
        absent = [k for k in kernels if wanted.get(k) not in kmods]
        if absent:
            return f"no module for {absent[0]}"
        more = sorted(set(kmods) - {wanted[k] for k in kernels})
        return f"{more[0]} would stay without its kernel" if more else None

    def _installed(self, generation: _Generation, name: str, kernels: tuple[str, ...], way: str = "") -> list[Any]:
        """What a host has of ours after installing a stream in some way, by its default profile unless one is given."""
        key = (f"{id(generation)} {name} {way}", kernels)
        if key not in self.fresh:
            names = [*self._ways(generation, name)[way], *(s.name for s in self.cuda)]
            names += [PackageKind.RELEASE.value] if generation.trees else []
            visible = [*self._visible(generation, name), *self.cuda]
            self.fresh[key] = self._ours(self._solve(self._world(kernels), visible, self._install(names)))
        return self.fresh[key]

    def _ours(self, packages: Sequence[Any]) -> list[Any]:
        return [s for s in packages if s.repo.id != self.others.id]

    def _world(self, kernels: Collection[str]) -> list[Any]:
        """What a host has before it has a driver."""
        return [self.base, *(self.kernels[k] for k in kernels)]

    def _is_dkms(self, name: str) -> bool:
        return any(self._plays(s, _DKMS) for s in self.new.of(name))

    def _newest(self, generation: _Generation, name: str) -> str | None:
        """The newest driver of a stream."""
        key = (id(generation), name)
        if key not in self.newest:
            drivers = [s for s in generation.of(name) if self._plays(s, _DRIVER)]
            self.newest[key] = _version(max(drivers, key=_BY_EVR)) if drivers else None
        return self.newest[key]

    def _served(self, generation: _Generation, name: str) -> list[str]:
        """Kernels that a stream's newest driver says it has modules for, oldest first; all where hosts build them."""
        if any(self._plays(s, _DKMS) for s in generation.of(name)):
            return list(self.kernels)
        newest = self._newest(generation, name)
        own = {k for s in generation.of(name) if _version(s) == newest for k in _kernels_of(s)}
        return [kernel for kernel in self.kernels if kernel in own]

    def _sets(self, generation: _Generation, name: str) -> list[tuple[str, ...]]:
        """Each kernel alone, and the newest ones together as hosts keep them."""
        served = self._served(generation, name)
        together: dict[str, list[str]] = {}
        for kernel in served:
            together.setdefault(self.kernels[kernel].name, []).append(kernel)
        sets: list[tuple[str, ...]] = [(kernel,) for kernel in served]
        sets += [tuple(kernels[-_TOGETHER:]) for kernels in together.values() if len(kernels) > 1]
        return sets


def _compared(one: Any, other: Any) -> int:
    """By epoch, version and release."""
    return int(one.evrcmp(other))


_BY_EVR = cmp_to_key(_compared)


def _copy(package: Any, repo: Any) -> Any:
    """An installed package as its RPM was when it was available."""
    copy = repo.add_solvable()
    copy.nameid, copy.evrid, copy.archid = package.nameid, package.evrid, package.archid
    copy.vendorid = package.vendorid
    for kind in _DEPENDENCIES:
        for dependency in package.lookup_deparray(kind) if kind != solv.SOLVABLE_REQUIRES else _requirements(package):
            copy.add_deparray(kind, dependency)
    return copy


def _kernels_of(package: Any) -> Iterator[str]:
    """The kernel that a kmod package requires exactly, and those that a gate has modules for."""
    texts = (str(d) for d in package.lookup_deparray(solv.SOLVABLE_REQUIRES))
    if package.name.startswith(_KMOD):
        provided = (_SERVES.fullmatch(str(d)) for d in package.lookup_deparray(solv.SOLVABLE_PROVIDES))
        yield from (f"{found[1]}{found[2]}" for found in provided if found)
        yield from (t for t in texts if " = " in t and not t.startswith(("(", *OWN)))
    elif package.name == _GATE:
        yield from (found[1] for t in texts if (found := _IF_KERNEL.search(t)))


def _requirements(package: Any) -> Iterator[Any]:
    for marker in (-1, 1):  # without and with those of scriptlets
        yield from package.lookup_deparray(solv.SOLVABLE_REQUIRES, marker)


def _atoms(text: str) -> Iterator[str]:
    if not text.startswith("("):
        yield text
        return
    yield from (m[0].strip() for m in _ATOM.finditer(text[1:-1]) if m["name"] not in _JOINS)


def _offer(atom: str) -> str:
    """A Provides that meets a requirement."""
    words = atom.split()
    return f"{words[0]} = {words[2]}" if len(words) == 3 and "=" in words[1] else words[0]


def _version(package: Any) -> str:
    return str(package.evr).rpartition(":")[2].rpartition("-")[0]


def _profile(stream: IndexedStream) -> tuple[str, ...]:
    return tuple(dict.fromkeys(rpm for p in stream.default_profiles for rpm in stream.profiles.get(p, ())))


def _reason(problem: Any) -> str:
    """The solver's words, without those that only say what follows from others."""
    said = list(dict.fromkeys(rule.info().problemstr() for rule in problem.findallproblemrules()))
    causes = [s for s in said if s.startswith("nothing provides")] or [s for s in said if " requires (" in s]
    causes = causes or [s for s in said if " requires " in s or " conflicts " in s or " obsoletes " in s] or said
    return causes[0] if causes else str(problem)


def _list(kernels: Sequence[str]) -> str:
    return ", ".join(kernels) or "no kernel"
