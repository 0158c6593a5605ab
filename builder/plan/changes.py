"""Which inputs of a unit changed: two recorded sets of key parts, compared and put into words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from difflib import unified_diff
from pathlib import PurePosixPath

from builder.model.keys import Inputs, KeyParts

_SHORT = 12  # digits of a digest
_NAMES = {"signer": "signer of the modules", "recipe": "way of packing"}
_PATCHES = (".patch", ".diff")


def describe_changes(old: Inputs, new: Inputs) -> tuple[str, ...]:
    """What is another in ``new``, a line each, lines of specs indented below theirs; empty where nothing is.

    Render both with the same serial, else that is told as a change of the spec.
    """
    lines: list[str] = []
    if old.modules is not None and new.modules is not None:
        lines += _devel(old, new)
        lines += _sources(old.modules, new.modules)
        lines += _spec(f"what compiles the modules ({new.spec_name})", old.modules.spec, new.modules.spec)
    lines += _sources(old.parts, new.parts)
    lines += _spec(new.spec_name, old.parts.spec, new.parts.spec)
    lines += _buildroot(old, new)
    lines += _requirements(old, new)
    lines += _settings(old.parts, new.parts)
    lines += _others(old, new, explained=bool(lines))
    return tuple(dict.fromkeys(lines))


def _devel(old: Inputs, new: Inputs) -> Iterator[str]:
    before, now = (i.modules.devel if i.modules else None for i in (old, new))
    if before != now:
        name = new.devel if old.devel == new.devel else f"{old.devel} → {new.devel}"
        yield f"kernel-devel {name}: sha256 {_short(before)} → {_short(now)}"


def _sources(old: KeyParts, new: KeyParts) -> Iterator[str]:
    before, now = dict(old.sources), dict(new.sources)
    for name in sorted(before.keys() | now.keys()):
        kind = "patch" if PurePosixPath(name).suffix in _PATCHES else "source"
        if name not in before:
            yield f"{kind} {name} added: sha256 {_short(now[name])}"
        elif name not in now:
            yield f"{kind} {name} removed"
        elif before[name] != now[name]:
            yield f"{kind} {name}: sha256 {_short(before[name])} → {_short(now[name])}"


def _spec(name: str, old: str, new: str) -> Iterator[str]:
    if old == new:
        return
    changed = [
        line
        for line in unified_diff(old.splitlines(), new.splitlines(), lineterm="", n=0)
        if not line.startswith(("---", "+++", "@@"))
    ]
    removed = sum(line.startswith("-") for line in changed)
    yield f"spec {name}: {removed} lines removed, {len(changed) - removed} added"
    yield from (f"  {line}" for line in changed)


def _buildroot(old: Inputs, new: Inputs) -> Iterator[str]:
    if old.parts.buildroot == new.parts.buildroot:
        return
    yield f"buildroot: {_short(old.parts.buildroot)} → {_short(new.parts.buildroot)}"
    yield from describe_packages(old.packages, new.packages)


def _requirements(old: Inputs, new: Inputs) -> Iterator[str]:
    """Those that a package is compiled with, beside its buildroot and kernel-devel."""
    before, now = (dict(i.modules.parts).get("requirements", "") if i.modules else "" for i in (old, new))
    if before != now:
        yield f"build requirements: {_short(before) or 'none'} → {_short(now) or 'none'}"
        yield from describe_packages(old.requirements, new.requirements)


def describe_packages(old: Sequence[str], new: Sequence[str]) -> Iterator[str]:
    """What is another in a list of "NEVRA digest" lines, a line a package."""
    before, now = _by_package(old), _by_package(new)
    for name in sorted(before.keys() | now.keys()):
        was, is_ = before.get(name, {}), now.get(name, {})
        gone, come = sorted(was.keys() - is_.keys()), sorted(is_.keys() - was.keys())
        if gone and come:
            yield f"  {', '.join(gone)} → {', '.join(come)}"
        elif gone or come:
            yield f"  {', '.join(gone or come)} {'removed' if gone else 'added'}"
        yield from (f"  {nevra}: other bytes" for nevra in sorted(was.keys() & is_.keys()) if was[nevra] != is_[nevra])


def _by_package(packages: Sequence[str]) -> dict[str, dict[str, str]]:
    """Name → NEVRA → digest, from "NEVRA digest" lines; the name only puts versions of one package side by side."""
    found: dict[str, dict[str, str]] = {}
    for line in packages:
        nevra, _, digest = line.partition(" ")
        found.setdefault(nevra.rsplit("-", 2)[0], {})[nevra] = digest
    return found


def _settings(old: KeyParts, new: KeyParts) -> Iterator[str]:
    macros, now = dict(old.macros), dict(new.macros)
    for name in sorted(macros.keys() | now.keys()):
        if macros.get(name) != now.get(name):
            yield f"macro {name}: {macros.get(name, 'not set')} → {now.get(name, 'not set')}"
    for what, before, after in (
        ("dist tag", old.dist, new.dist),
        ("payload", old.payload, new.payload),
        ("date of the sources", old.epoch, new.epoch),
        ("builder", old.recipe, new.recipe),
    ):
        if before != after:
            yield f"{what}: {before} → {after}"


def _others(old: Inputs, new: Inputs, *, explained: bool) -> Iterator[str]:
    before, now = dict(old.parts.parts), dict(new.parts.parts)
    for name in sorted(before.keys() | now.keys()):
        was, is_ = before.get(name, ""), now.get(name, "")
        if name == "modules" and (explained or was == is_):
            continue  # a digest of what was told already
        if was != is_:
            yield f"{_NAMES.get(name, name)}: {_short(was) or 'none'} → {_short(is_) or 'none'}"


def _short(digest: str | None) -> str:
    """A digest's beginning; what is no digest stays whole."""
    text = digest or ""
    return f"{text[:_SHORT]}…" if len(text) >= 40 and " " not in text else text


def nearest(of: Inputs, others: Sequence[Inputs]) -> Inputs | None:
    """Whichever of others has the fewest changes to ``of``; the first of equals, None where there are none."""
    ranked = [(len(describe_changes(other, of)), number) for number, other in enumerate(others)]
    return others[min(ranked)[1]] if ranked else None
