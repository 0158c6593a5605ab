"""What streams/*.yaml say about each other and about matrix.yaml."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.config.cell_ids import NEWEST
from builder.config.faults import allowed, suggest
from builder.config.fileset import FileSet, StreamTree
from builder.config.nodes import Node
from builder.errors import Mistake
from builder.model.matrix import Delivery, Flavor, Kmods

_PACKAGES = (
    "nvidia-driver",
    "nvidia-driver-libs",
    "nvidia-driver-cuda",
    "nvidia-driver-cuda-libs",
    "cuda-drivers",
    "nvidia-fabricmanager",
    "nvidia-fabricmanager-devel",
    "libnvidia-nscq",
    "nvidia-imex",
)
_OPEN_PACKAGES = ("nvidia-open", "nvidia-open-kernel-source")
_BRANCH_STREAM = re.compile(r"r(?P<branch>[0-9]+)(?P<open>-open)?(-dkms)?")


def check_streams(files: FileSet) -> Iterator[Mistake]:
    """Every mistake of the streams that needs more than one value to be seen."""
    for stream in files.streams:
        for line, message in _stream(stream, files):
            yield Mistake(file=stream.file, line=line, message=message)
    yield from _defaults(files)
    yield from _package_names(files)


def _stream(stream: StreamTree, files: FileSet) -> Iterator[tuple[int, str]]:
    node = stream.node
    name = node.get("stream")
    if name.text and name.text != stream.expected:
        yield name.line, f"stream: {name.text!r} stands in a file named for {stream.expected!r}: both must be the same"
    yield from _branch_and_flavor(stream, files)
    yield from _name_promises(stream, files)
    for place in node.get("distributions").elements:
        known = files.distributions()
        if place.text and known and place.text not in known:
            yield (
                place.line,
                f"distributions: no distribution {place.text!r}{suggest(place.text, known)} {allowed(known)}",
            )
    yield from _profiles(node)
    yield from _replaced_defaults(node)


def _replaced_defaults(node: Node) -> Iterator[tuple[int, str]]:
    """An acknowledgement that could never be meant."""
    key, replaced = "default_instead_of", node.get("default_instead_of")
    if replaced.elements and node.get("default").value is not True:
        yield replaced.line, f"{key}: this stream is no default: write default: true, or take {key} out"
    seen: set[str] = set()
    for name in replaced.elements:
        if name.text and name.text == node.get("stream").text:
            yield name.line, f"{key}: {name.text!r} is this stream itself: name the former default"
        if name.text and name.text in seen:
            yield name.line, f"{key}: {name.text!r} stands here a second time"
        seen.add(name.raw)


def _branch_and_flavor(stream: StreamTree, files: FileSet) -> Iterator[tuple[int, str]]:
    branch, flavor, branches = stream.node.get("branch"), stream.node.get("flavor"), files.branches()
    if not branch.text or not branches:
        return
    if branch.text != NEWEST and branch.text not in branches:
        known = [*branches, NEWEST]
        match = _BRANCH_STREAM.fullmatch(stream.expected)
        promised = match["branch"] if match else None
        near = f", did you mean {promised!r}?" if promised in branches else suggest(branch.text, known)
        yield branch.line, f"branch: no branch {branch.text!r}{near} {allowed(known)}"
        return
    offered = [d.get("flavors") for name, d in files.drivers() if branch.text in (NEWEST, name)]
    readable = offered and all(f.kind == "list" for f in offered)
    if flavor.text in set(Flavor) and readable and not any(flavor.text in f.texts() for f in offered):
        known = sorted({text for f in offered for text in f.texts()})
        where = "any branch" if branch.text == NEWEST else f"branch {branch.text}"
        yield flavor.line, f"flavor: no driver of {where} has flavor {flavor.text} {allowed(known)}"


def _name_promises(stream: StreamTree, files: FileSet) -> Iterator[tuple[int, str]]:
    """A stream's name tells admins what they get; the fields must say the same."""
    name = stream.expected
    match = _BRANCH_STREAM.fullmatch(name)
    promised = {"kmods": Kmods.DKMS.value if name.endswith("-dkms") else Kmods.PRECOMPILED.value}
    if match:
        promised["branch"] = match["branch"]
        promised["flavor"] = Flavor.OPEN.value if match["open"] else Flavor.PROPRIETARY.value
    elif "-open" in name:
        promised["flavor"] = Flavor.OPEN.value
    valid: dict[str, set[str]] = {"branch": {NEWEST, *files.branches()}, "flavor": {*Flavor}, "kmods": {*Kmods}}
    for key, value in sorted(promised.items()):
        said = stream.node.get(key)
        if said.text and said.text in valid[key] and said.text != value:
            yield said.line, f"{key}: {said.raw!r} in a stream named {name!r}: its name says {value!r}"


def _profiles(node: Node) -> Iterator[tuple[int, str]]:
    profiles = node.get("profiles").entries
    chosen = node.entries.get("default_profile")
    wanted = chosen.text if chosen else "default"
    if profiles and wanted and wanted not in profiles:
        line = chosen.line if chosen else node.get("profiles").line
        yield line, f"default_profile: no profile {wanted!r}{suggest(wanted, profiles)} {allowed(profiles)}"
    known = list(_known_packages(node))
    for name, profile in profiles.items():
        seen: set[str] = set()
        for package in profile.get("packages").elements:
            where = f"profiles.{name}.packages"
            if package.text and package.text not in known:
                near = suggest(package.text, known)
                yield package.line, f"{where}: {package.text!r} is no user-facing package{near} {allowed(known)}"
            if package.text in seen:
                yield package.line, f"{where}: {package.text!r} stands here a second time"
            seen.add(package.raw)


def _known_packages(node: Node) -> Iterator[str]:
    yield from _PACKAGES
    branch = node.get("branch").raw  # as typed: that it is unquoted or unknown is told once, at its own line
    if branch not in ("", NEWEST):
        yield f"cuda-drivers-{branch}"
    if node.get("flavor").text != Flavor.PROPRIETARY:
        yield from _OPEN_PACKAGES


def _defaults(files: FileSet) -> Iterator[Mistake]:
    """Exactly one default stream on each distribution."""
    if not files.readable or not files.streams:
        return
    reported: set[str] = set()
    for name, distribution in files.distributions().items():
        offered = [s for s in files.streams if _on(s.node, name)]
        defaults = [s for s in offered if s.node.get("default").value is True]
        if not defaults:
            names = [s.expected for s in offered]
            message = f"distributions.{name}: no default stream: write default: true in one of its streams"
            yield Mistake(file=files.matrix_file, line=distribution.line, message=f"{message} {allowed(names)}")
        for extra in defaults[1:]:
            if extra.file in reported:
                continue
            reported.add(extra.file)
            line = extra.node.get("default").line
            message = f"default: {name} has the default stream {defaults[0].expected!r} already"
            yield Mistake(file=extra.file, line=line, message=message)


def _package_names(files: FileSet) -> Iterator[Mistake]:
    """Where the stream stands in package names, no two streams may have the same."""
    reported: set[str] = set()
    for name, distribution in files.distributions().items():
        if distribution.get("delivery").text != Delivery.BRANCH_PACKAGES:
            continue
        taken: dict[str, str] = {}
        for stream in files.streams:
            label = _label(stream.node)
            if not _on(stream.node, name) or label is None or any(_name_promises(stream, files)):
                continue
            other = taken.setdefault(label, stream.expected)
            if other != stream.expected and stream.file not in reported:
                reported.add(stream.file)
                line = stream.node.get("stream").line
                message = (
                    f"stream: on {name} its packages would be called nvidia-driver-{label}, as those of {other!r}:"
                )
                yield Mistake(file=stream.file, line=line, message=f"{message} leave {name} out of one's distributions")


def _label(stream: Node) -> str | None:
    """As builder.model.matrix.Stream.label; None where what it is made of is not there."""
    branch, flavor, kmods = (stream.get(key).text for key in ("branch", "flavor", "kmods"))
    if branch == NEWEST:
        return stream.get("stream").text or None
    if not branch or flavor not in set(Flavor) or kmods not in set(Kmods):
        return None
    return f"branch-{branch}{Flavor(flavor).suffix}{'-dkms' if kmods == Kmods.DKMS else ''}"


def _on(stream: Node, distribution: str) -> bool:
    places = stream.get("distributions")
    return places.kind == "missing" or not places.elements or distribution in places.texts()
