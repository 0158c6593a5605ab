"""What one package says to the solver, and the words for it. Takes libsolv's solvables; touches no pool."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cmp_to_key
from typing import Any

import solv

from builder.publish.module_checks import OWN

DRIVER, DKMS = "nvidia-driver", "dkms-nvidia"
GATE, KMOD = "nvidia-kmod-common", "kmod-nvidia-"
_ATOM = re.compile(r"(?P<name>[^\s()]+(?:\([^\s()]*\))*)(?:\s*(?P<sign><=|>=|=|<|>)\s*(?P<evr>[^\s()]+))?")
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


def _compared(one: Any, other: Any) -> int:
    """By epoch, version and release."""
    return int(one.evrcmp(other))


BY_EVR = cmp_to_key(_compared)


def copy(package: Any, repo: Any) -> Any:
    """An installed package as its RPM was when it was available."""
    copy = repo.add_solvable()
    copy.nameid, copy.evrid, copy.archid = package.nameid, package.evrid, package.archid
    copy.vendorid = package.vendorid
    for kind in _DEPENDENCIES:
        for dependency in package.lookup_deparray(kind) if kind != solv.SOLVABLE_REQUIRES else requirements(package):
            copy.add_deparray(kind, dependency)
    return copy


def kernels_of(package: Any) -> Iterator[str]:
    """The kernel that a kmod package requires exactly, and those that a gate has modules for."""
    texts = (str(d) for d in package.lookup_deparray(solv.SOLVABLE_REQUIRES))
    if package.name.startswith(KMOD):
        yield from (t for t in texts if " = " in t and not t.startswith(("(", *OWN)))
    elif package.name == GATE:
        yield from (found[1] for t in texts if (found := _IF_KERNEL.search(t)))


def requirements(package: Any) -> Iterator[Any]:
    """Everything that a package requires."""
    for marker in (-1, 1):  # without and with those of scriptlets
        yield from package.lookup_deparray(solv.SOLVABLE_REQUIRES, marker)


def atoms(text: str) -> Iterator[str]:
    """The plain dependencies in a boolean one, or the one itself."""
    if not text.startswith("("):
        yield text
        return
    yield from (m[0].strip() for m in _ATOM.finditer(text[1:-1]) if m["name"] not in _JOINS)


def offer(atom: str) -> str:
    """A Provides that meets a requirement."""
    words = atom.split()
    return f"{words[0]} = {words[2]}" if len(words) == 3 and "=" in words[1] else words[0]


def version_of(package: Any) -> str:
    """Without epoch and release."""
    return str(package.evr).rpartition(":")[2].rpartition("-")[0]


def newest_driver(packages: Sequence[Any]) -> str | None:
    """The newest driver among a stream's packages."""
    drivers = [s for s in packages if s.name == DRIVER]
    return version_of(max(drivers, key=BY_EVR)) if drivers else None
