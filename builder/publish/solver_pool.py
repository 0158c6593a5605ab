"""libsolv's pool with what a client may see: both generations, the kernels and a stand-in for a distribution."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import solv

from builder.errors import ToolError
from builder.model.naming import COMPAT32_ARCHES, repository_arch
from builder.publish.module_checks import OWN, IndexedStream, read_index
from builder.publish.record import RECORD, read_record
from builder.publish.solvables import BY_EVR, KMOD, RELEASE, atoms, copy, kernels_of, offer, plays, requirements
from builder.publish.trees import read_named_streams, read_trees
from builder.tools.createrepo import read_repomd

_CUDA_DRIVERS = "cuda-drivers"
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


@dataclass(slots=True, kw_only=True, repr=False)  # libsolv's objects must not be printed once their pool is gone
class Generation:
    """One generation in the pool."""

    streams: dict[str, IndexedStream]
    packages: dict[str, dict[str, Any]]  # stream → artifact → solvable; a tree of its own has solvables of its own
    trees: bool = False  # a metadata tree a stream instead of module documents
    named: bool = False  # the stream stands in package names: hosts see all streams
    release: Any = None  # the newest package in no stream of a module, which brings the repository to hosts
    seen: dict[str, _Seen] = field(default_factory=dict)  # what was asked for already

    def of(self, stream: str) -> list[Any]:
        """The solvables of a stream."""
        packages = self.packages[stream]
        return [packages[a] for a in sorted(self.streams[stream].artifacts) if a in packages]

    def all(self) -> list[Any]:
        """The solvables of all streams, each once."""
        return list({s.id: s for stream in self.streams for s in self.of(stream)}.values())

    def visible(self, stream: str, kernels: Iterable[str]) -> list[Any]:
        """The solvables that hosts of a stream see and could have.

        Without modules for none but other kernels: their packages require kernels that neither are there nor come, so
        no solution has them. There are many of them, and many transitions.
        """
        key = "" if self.named else stream
        if key not in self.seen:
            self.seen[key] = _Seen(self.all() if self.named else self.of(stream))
        return self.seen[key].beside(kernels)


class _Seen:
    """Solvables that hosts see, modules by the kernels that they say they are for."""

    def __init__(self, packages: Iterable[Any]) -> None:
        self.rest: list[Any] = []
        self.modules: dict[str, list[Any]] = {}
        for package in packages:
            kernels = set(kernels_of(package)) if package.name.startswith(KMOD) else ()
            for kernel in kernels:
                self.modules.setdefault(kernel, []).append(package)
            if not kernels:
                self.rest.append(package)

    def beside(self, kernels: Iterable[str]) -> list[Any]:
        """Those that do not belong to other kernels only; each once."""
        modules = {s.id: s for kernel in kernels for s in self.modules.get(kernel, ())}
        return [*self.rest, *modules.values()]


class Refused(Exception):  # noqa: N818  never leaves these transitions
    """The solver found no way."""


class SolverPool:
    """A pool with both generations, the kernels and a stand-in for the rest of a distribution."""

    def __init__(self, folder: Path, previous: Path | None) -> None:
        self.count = 0
        self.pool = solv.Pool()
        self.pool.setdisttype(solv.Pool.DISTTYPE_RPM)
        for flag in _POOL_FLAGS:
            self.pool.set_flag(getattr(solv.Pool, flag), 1)
        self.new = self._load(folder)
        self.old = self._load(previous) if previous is not None else Generation(streams={}, packages={})
        if (self.old.trees, self.old.named) != (self.new.trees, self.new.named):
            # Hosts of the one delivery do not see the other.
            self.old = Generation(streams={}, packages={})
        everything = [*self.new.all(), *self.old.all()]
        self.arch = repository_arch(s.arch for s in everything) or "noarch"
        self.pool.setarch(self.arch)
        self.others = self.pool.add_repo("distribution")
        self.kernels = self._kernels(everything)
        self.base = self._base(everything)
        served = any(plays(s, _CUDA_DRIVERS) for s in everything)
        self.cuda = [self._made("cuda", "1-1", requires=[_CUDA_DRIVERS])] if served else []
        self._host = self.pool.add_repo("@System")
        self._installed_ids: list[int] | None = None
        self._copies: dict[int, Any] = {}
        self.coming = {name: self._coming(name) for name in {s.name for s in self.kernels.values()}}

    def _load(self, folder: Path) -> Generation:
        try:
            record = read_record(folder) if (folder / RECORD).is_file() else {}
            trees, named = read_trees(record), read_named_streams(record)
        except ValueError as exc:
            raise ToolError(f"{folder / RECORD}: {exc}") from exc
        if not trees:
            index = named[0] if named else read_index(folder)
            streams = {s.name: s for s in index.streams}
            every = self._packages(folder)
            releases = [
                s for a, s in every.items() if s.name == RELEASE and not any(a in i.artifacts for i in index.streams)
            ]
            return Generation(
                streams=streams,
                packages=dict.fromkeys(streams, every),
                named=bool(named),
                release=max(releases, key=BY_EVR, default=None),
            )
        packages = {tree.name: self._packages(folder / tree.folder) for tree in trees}
        return Generation(
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
        texts = {kernel for package in packages for kernel in kernels_of(package)}
        made = {}
        for text in texts:
            name, _, evr = text.split()
            made[text] = self._made(name, evr)
        return dict(sorted(made.items(), key=lambda item: (item[1].name, BY_EVR(item[1]))))

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
            for dependency in requirements(package)
            for atom in atoms(str(dependency))
            if not atom.startswith(("rpmlib(", *OWN)) and atom.split()[0] not in kernels
        }
        offered = {str(d).split()[0] for p in packages for d in p.lookup_deparray(solv.SOLVABLE_PROVIDES)}
        return self._made(
            "distribution", "1-1", provides=sorted(offer(a) for a in wanted if a.split()[0] not in offered)
        )

    # Solving

    def solve(
        self, installed: Sequence[Any], visible: Sequence[Any], jobs: Sequence[Any], *, erase: bool = False
    ) -> list[Any]:
        """What a host has afterwards that had ``installed`` and sees ``visible``; raises Refused with the reason.

        ``erase``: packages may leave for it, as with ``swap``.
        """
        self.count += 1
        copies = self._system(installed)
        self.pool.set_disabled_list([])  # frees the former list, which was made for fewer solvables than are there
        self.pool.set_considered_list([*(s.id for s in visible), *copies])
        self.pool.addfileprovides()
        self.pool.createwhatprovides()
        solver = self.pool.Solver()
        for flag in _FLAGS:
            solver.set_flag(getattr(solv.Solver, flag), 1)
        if erase:
            solver.set_flag(solv.Solver.SOLVER_FLAG_ALLOW_UNINSTALL, 1)
        side_by_side = [self.job(solv.Job.SOLVER_MULTIVERSION, name) for name in sorted(self.coming)]
        problems = solver.solve([*side_by_side, *jobs])
        if problems:
            raise Refused("; ".join(dict.fromkeys(_reason(problem) for problem in problems)))
        transaction = solver.transaction()
        kept = [copies[s.id] for s in transaction.keptsolvables() if s.id in copies]
        return kept + list(transaction.newsolvables())

    def _system(self, installed: Sequence[Any]) -> dict[int, Any]:
        """Make these what is installed; which each is a copy of, by its id. One host has many transitions in turn."""
        ids = [package.id for package in installed]
        if ids != self._installed_ids:
            self.pool.installed = None
            self._host.free(True)
            self._host = self.pool.add_repo("@System")
            self._copies = {copy(package, self._host).id: package for package in installed}
            self._installed_ids = ids
            self.pool.installed = self._host
        return self._copies

    def job(self, how: int, name: str) -> Any:
        """Do something with a package of that name."""
        return self.pool.Job(how | solv.Job.SOLVER_SOLVABLE_NAME, self.pool.str2id(name))

    def install(self, names: Iterable[str]) -> list[Any]:
        """``dnf install``: by name, or name.arch for 32-bit packages."""
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

    def upgrade(self, *, best: bool) -> list[Any]:
        """``dnf upgrade``."""
        how = solv.Job.SOLVER_UPDATE | solv.Job.SOLVER_SOLVABLE_ALL | (solv.Job.SOLVER_FORCEBEST if best else 0)
        return [self.pool.Job(how, 0)]

    def ours(self, packages: Sequence[Any]) -> list[Any]:
        """Without what the distribution and the repository's release package bring."""
        # By id: libsolv's own comparison of a solvable with None ends the process.
        release = None if self.new.release is None else self.new.release.id
        return [s for s in packages if s.repo.id != self.others.id and s.id != release]

    def world(self, kernels: Collection[str]) -> list[Any]:
        """What a host has before it has a driver."""
        release = [] if self.new.release is None else [self.new.release]
        return [self.base, *release, *(self.kernels[k] for k in kernels)]


def _reason(problem: Any) -> str:
    """The solver's words, without those that only say what follows from others."""
    said = list(dict.fromkeys(rule.info().problemstr() for rule in problem.findallproblemrules()))
    causes = [s for s in said if s.startswith("nothing provides")] or [s for s in said if " requires (" in s]
    causes = causes or [s for s in said if " requires " in s or " conflicts " in s or " obsoletes " in s] or said
    return causes[0] if causes else str(problem)
