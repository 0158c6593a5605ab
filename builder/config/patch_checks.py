"""What the patches of matrix.yaml say about their files, their kernels and each other, checked on the raw trees."""

from __future__ import annotations

import re
from collections.abc import Iterator

from builder.config.cell_ids import RawCell, raw_cells
from builder.config.faults import allowed, find_twice, suggest
from builder.config.fileset import FileSet
from builder.config.nodes import Node
from builder.config.schema import BOUND, PATCH, KernelRuleEntry, RangeEntry
from builder.model.matrix import Flavor
from builder.model.nevra import Evr
from builder.model.patches import KernelRule, VersionRange

Found = Iterator[tuple[int, str]]


def check_patches(files: FileSet) -> Found:
    """Line and message of every mistake; a patch that applies to no cell is one, as a rule that excludes none is."""
    cells = list(raw_cells(files))
    for name, branch in files.branches().items():
        seen: dict[str, int] = {}
        for index, patch in enumerate(branch.get("patches").elements):
            where = f"branches.{name}.patches[{index}]"
            mistakes = [*_file(patch.get("file"), where, files, seen), *_flavors(patch, where, name, branch)]
            mistakes += _ranges(patch, where, files)
            yield from mistakes
            if not mistakes and not any(_applies(patch, cell) for cell in cells if cell.branch == name):
                yield patch.get("file").line, f"{where}: applies to no cell (repobuild cells lists them)"


def _file(file: Node, where: str, files: FileSet, seen: dict[str, int]) -> Found:
    if file.text is None or not re.fullmatch(PATCH, file.text):
        return
    path = files.folder / file.text
    if path.name in seen:
        yield file.line, f"{where}.file: a second patch of the name {path.name!r}; first on line {seen[path.name]}"
    seen.setdefault(path.name, file.line)
    if not path.is_file():
        near = sorted(p.name for p in path.parent.glob("*.patch"))
        yield file.line, f"{where}.file: no file {file.text!r}{suggest(path.name, near)} {allowed(near)}"
        return
    try:
        data = path.read_bytes()
    except OSError as exc:
        yield file.line, f"{where}.file: {file.text!r} cannot be read: {exc.strerror}"
        return
    if not (re.search(rb"^\+\+\+ ", data, re.MULTILINE) and re.search(rb"^@@ ", data, re.MULTILINE)):
        yield file.line, f"{where}.file: {file.text!r} is no unified diff (it has no '+++' or no '@@' line)"


def _flavors(patch: Node, where: str, name: str, branch: Node) -> Found:
    flavors = patch.get("flavors").elements
    yield from find_twice(flavors, f"{where}.flavors")
    offered = sorted({text for driver in branch.get("drivers").elements for text in driver.get("flavors").texts()})
    for flavor in flavors:
        if flavor.text in set(Flavor) and offered and flavor.text not in offered:
            yield (
                flavor.line,
                f"{where}.flavors: no driver of branch {name} has flavor {flavor.text} {allowed(offered)}",
            )


def _ranges(patch: Node, where: str, files: FileSet) -> Found:
    drivers = patch.get("drivers")
    if drivers.kind == "mapping":
        yield from _range(drivers, f"{where}.drivers", [i.alias or n for n, i in RangeEntry.model_fields.items()])
    variants = sorted({text for kernel in files.kernels() if (text := kernel.get("variant").text)})
    known = {"distribution": list(files.distributions()), "variant": variants}
    for index, rule in enumerate(patch.get("kernels").elements):
        at = f"{where}.kernels[{index}]"
        if rule.kind != "mapping":
            continue
        mistakes = list(_range(rule, at, [i.alias or n for n, i in KernelRuleEntry.model_fields.items()]))
        for key, words in known.items():
            word = rule.get(key)
            if word.text and words and word.text not in words:
                mistakes.append(
                    (word.line, f"{at}.{key}: no {key} {word.text!r}{suggest(word.text, words)} {allowed(words)}")
                )
        yield from mistakes
        if not mistakes and files.kernels() and not any(_chooses(rule, kernel) for kernel in files.kernels()):
            yield rule.line, f"{at}: no kernel of this matrix is chosen (repobuild cells lists them)"


def _range(node: Node, where: str, keys: list[str]) -> Found:
    if not node.entries:
        yield node.line, f"{where}: says nothing: leave it out, or give one of its keys {allowed(keys)}"
    start, before = node.get("from"), node.get("before")
    if _bound(start) and _bound(before) and VersionRange(start=start.text, before=before.text).empty:
        yield before.line, f"{where}: upside down: no version is from {start.text!r} on and before {before.text!r}"


def _bound(node: Node) -> bool:
    return node.text is not None and re.fullmatch(BOUND, node.text) is not None


def _versions(node: Node) -> VersionRange | None:
    """The range of a node; None where a bound is broken."""
    start, before = node.get("from"), node.get("before")
    if not all(_bound(bound) for bound in (start, before) if bound.kind != "missing"):
        return None
    return VersionRange(start=start.text, before=before.text)


def _chooses(rule: Node, kernel: Node) -> bool:
    """Whether a rule chooses a kernel; what cannot be read says nothing and so never makes a second mistake."""
    versions, evr = _versions(rule), kernel.get("core").get("evr").text
    values = {key: kernel.get(key).text for key in ("distribution", "variant", "release")}
    try:
        full = Evr.parse(evr or "").full
    except ValueError:
        return True
    if versions is None or None in values.values():
        return True
    wanted = {key: rule.get(key).text for key in ("distribution", "variant", "release")}
    return KernelRule(**wanted, versions=versions).holds(**{k: v or "" for k, v in values.items()}, evr=full)


def _applies(patch: Node, cell: RawCell) -> bool:
    rules = patch.get("kernels").elements
    flavors = [text for text in patch.get("flavors").texts() if text in set(Flavor)]
    versions = _versions(patch.get("drivers"))
    return (
        (versions is None or cell.version in versions)
        and (not flavors or cell.flavor in flavors)
        and (not rules or any(_chooses(rule, cell.kernel) for rule in rules))
    )
