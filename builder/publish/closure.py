"""Does each stream hold everything that its packages need? libsolv answers, stream by stream as clients see them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import solv

from builder.errors import VerifyError
from builder.model.naming import repository_arch
from builder.publish.location import Location, MissingFileError
from builder.publish.module_checks import OWN, IndexedStream, ModuleIndex
from builder.tools.createrepo import ListedPackage, read_repomd

_CONDITION = re.compile(r"\s(?:if|unless)\s")
_ATOM = re.compile(r"(?P<name>[^\s()]+(?:\([^\s()]*\))?)(?:\s*(?:<=|>=|=|<|>)\s*[^\s()]+)?")
_JOINS = frozenset({"and", "or", "with", "without", "else"})


@dataclass(frozen=True, slots=True, kw_only=True)
class BaseRepository:
    """Metadata of a base repository, fetched: what the publication may lean on."""

    name: str
    primary: Path
    filelists: Path | None


@dataclass(frozen=True, slots=True, kw_only=True)
class _World:
    """A pool with the publication and, where given, the base repositories."""

    pool: Any
    ours: dict[str, Any] = field(default_factory=dict)  # artifact → solvable
    base: frozenset[int] = frozenset()  # ids of the base repositories' solvables


def load_base(locations: Sequence[str], tmp: Path) -> tuple[BaseRepository, ...]:
    """Fetch primary and filelists of base repositories; raises VerifyError when one has none that can be read."""
    found = []
    for number, location in enumerate(locations):
        folder = tmp / f"base-{number}"
        folder.mkdir()
        place = Location(location, folder)
        try:
            with place.open("repodata/repomd.xml") as repomd:
                hrefs = {record.type: record.href for record in read_repomd(repomd)}
            copies = {}
            for kind in ("primary", "filelists"):
                if kind in hrefs:
                    with place.open(hrefs[kind]) as path:
                        copies[kind] = folder / path.name
                        copies[kind].write_bytes(path.read_bytes())
        except MissingFileError as exc:
            raise VerifyError(f"{location}: base repository: {exc}") from exc
        if "primary" not in copies or copies["primary"].suffix not in (".gz", ".xml"):
            raise VerifyError(f"{location}: base repository: no primary metadata in gz")
        found.append(BaseRepository(name=location, primary=copies["primary"], filelists=copies.get("filelists")))
    return tuple(found)


def closure_faults(
    primary: Path,
    packages: Sequence[ListedPackage],
    index: ModuleIndex,
    base: Sequence[BaseRepository],
    omitted: frozenset[str] = frozenset(),
) -> tuple[int, list[str]]:
    """How many dependencies were looked up, and those that a stream cannot meet.

    A stream's packages may lean on each other and on the base, never on another stream: clients do not see it. What
    is asked for on a condition may be ``omitted`` on purpose (names of packages): hosts that meet it are refused.
    """
    world = _load(primary, packages, base)
    faults: list[str] = []
    looked = 0
    for stream in index.streams:
        visible = {s.id for a, s in world.ours.items() if a in stream.artifacts} | world.base
        for artifact in sorted(stream.artifacts & set(world.ours)):
            needs = [("requires", *n) for n in _needs(world.pool, world.ours[artifact], omitted, everything=bool(base))]
            needs += [("suggests", *n) for n in _siblings(world.ours[artifact])]
            looked += len(needs)
            for verb, text, needed in needs:
                if not any(s.id in visible for s in world.pool.whatprovides(needed)):
                    faults.append(f"stream {stream.name}: {artifact} {verb} {text}, which nothing provides")
        if base and not any(fault.startswith(f"stream {stream.name}:") for fault in faults):
            faults.extend(_install_faults(world, stream, visible))
    return looked, faults


def _load(primary: Path, packages: Sequence[ListedPackage], base: Sequence[BaseRepository]) -> _World:
    pool = solv.Pool()
    pool.setdisttype(solv.Pool.DISTTYPE_RPM)
    pool.setarch(repository_arch(p.nevra.arch for p in packages) or "noarch")
    repo = pool.add_repo("publication")
    _add(repo, primary, 0)
    ours = {f"{s.name}-{s.evr if ':' in s.evr else '0:' + s.evr}.{s.arch}": s for s in repo.solvables}
    for number, one in enumerate(base):
        other = pool.add_repo(f"base-{number}")
        _add(other, one.primary, 0)
        if one.filelists is not None:
            _add(other, one.filelists, solv.Repo.REPO_EXTEND_SOLVABLES, "FL")
    pool.addfileprovides()
    pool.createwhatprovides()
    base_ids = frozenset(s.id for r in pool.repos if r.id != repo.id for s in r.solvables)
    return _World(pool=pool, ours=ours, base=base_ids)


def _add(repo: Any, path: Path, flags: int, language: str | None = None) -> None:
    handle = solv.xfopen(str(path))
    repo.add_rpmmd(handle, language, flags)
    handle.close()


def _needs(pool: Any, package: Any, omitted: frozenset[str], *, everything: bool) -> Iterator[tuple[str, Any]]:
    """Dependencies to look up, as text and as libsolv's; conditional ones count by what they would ask for."""
    for dependency in package.lookup_deparray(solv.SOLVABLE_REQUIRES):
        text = str(dependency)
        if text.startswith("rpmlib("):
            continue
        if not text.startswith("("):
            if everything or text.startswith(OWN):
                yield text, dependency
        elif " or " not in text:  # either side would do: the trial installation decides
            asked = _CONDITION.split(text[1:-1])[0]
            for part in (m[0].strip() for m in _ATOM.finditer(asked) if m["name"] not in _JOINS | omitted):
                if everything or part.startswith(OWN):
                    yield part, pool.parserpmrichdep(f"({part})")


def _siblings(package: Any) -> Iterator[tuple[str, Any]]:
    """What a package of ours names as belonging to its driver without ever pulling it: its 32-bit package."""
    for dependency in package.lookup_deparray(solv.SOLVABLE_SUGGESTS):
        if str(dependency).startswith(OWN):
            yield str(dependency), dependency


def _install_faults(world: _World, stream: IndexedStream, visible: set[int]) -> Iterator[str]:
    """Can a fresh host install the default profile from this stream and the base?"""
    pool = world.pool
    jobs = []
    for name in sorted({rpm for p in stream.default_profiles for rpm in stream.profiles.get(p, ())}):
        selected = pool.select(name, solv.Selection.SELECTION_NAME)
        jobs += selected.jobs(solv.Job.SOLVER_INSTALL)
    hidden = [s.id for s in world.ours.values() if s.id not in visible]
    jobs += [pool.Job(solv.Job.SOLVER_LOCK | solv.Job.SOLVER_SOLVABLE, number) for number in hidden]
    for problem in pool.Solver().solve(jobs):
        yield f"stream {stream.name}: its default profile cannot be installed: {problem}"
