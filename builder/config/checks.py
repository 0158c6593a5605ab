"""What the values of matrix.yaml say about each other, checked on the raw trees so that one broken value hides nothing.

A check looks only at values whose shape is right; the others are mistakes already.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from fnmatch import fnmatchcase
from functools import cmp_to_key
from string import Formatter

from builder.config.cell_ids import cell_ids
from builder.config.faults import allowed, find_twice, suggest
from builder.config.fileset import FileSet
from builder.config.nodes import Node
from builder.config.patch_checks import check_patches
from builder.config.schema import PATTERNS
from builder.errors import Mistake
from builder.model.matrix import Delivery
from builder.model.naming import ARCHIVE_KINDS
from builder.model.nevra import compare_evr
from builder.model.toolchain import generation_of_command, generation_of_text

_NAME, _BRANCH, _VERSION = list(PATTERNS)[:3]
_PLACEHOLDERS = ("version", "arch", "branch")
_SCHEMES = ("https://", "http://", "file://")


def check_matrix(files: FileSet) -> Iterator[Mistake]:
    """Every mistake between the values of matrix.yaml (and of the streams where cells depend on them)."""
    for line, message in _all(files):
        yield Mistake(file=files.matrix_file, line=line, message=message)


def _all(files: FileSet) -> Iterator[tuple[int, str]]:
    for name, distribution in files.distributions().items():
        yield from _distribution(name, distribution, files)
    yield from _kernels(files)
    for name, branch in files.branches().items():
        yield from _branch(name, branch)
    yield from _drivers(files)
    yield from check_patches(files)
    yield from _excludes(files)
    yield from _qualification(files)
    yield from _keys(files)


def _distribution(name: str, node: Node, files: FileSet) -> Iterator[tuple[int, str]]:
    where = f"distributions.{name}"
    if not re.fullmatch(_NAME, name):
        yield node.line, f"{where}: {name!r} is not {PATTERNS[_NAME]}"
    payload, delivery = node.get("payload"), node.get("delivery")
    if delivery.text == Delivery.BRANCH_PACKAGES and (payload.text or "zstdio").endswith("zstdio"):
        line = payload.line if payload.text else delivery.line
        yield line, f"{where}.payload: delivery {delivery.text} is for an rpm that reads no zstd: write w6.xzdio"
    yield from find_twice(node.get("arches").elements, f"{where}.arches")
    buildroot = node.get("buildroot")
    template = buildroot.get("template")
    if template.text and template.text.endswith(".cfg.j2") and template.text not in files.templates:
        near = suggest(template.text, files.templates)
        message = f"no file {template.text!r} in {_shown(files)}{near} {allowed(files.templates)}"
        yield template.line, f"{where}.buildroot.template: {message}"
    repositories = buildroot.get("repositories").elements
    yield from find_twice([r.get("id") for r in repositories], f"{where}.buildroot.repositories")
    for index, repository in enumerate(repositories):
        at = f"{where}.buildroot.repositories[{index}]"
        if repository.get("gpgcheck").value in (None, True) and repository.get("gpgkey").text is None:
            yield (
                repository.line,
                f"{at}: gpgcheck is on and no gpgkey is given: name the key, or write gpgcheck: false",
            )
        for key in ("baseurl", "gpgkey"):
            yield from _url(repository.get(key), f"{at}.{key}")


def _shown(files: FileSet) -> str:
    try:
        return f"{files.templates_folder.relative_to(files.folder)}/"
    except ValueError:
        return f"{files.templates_folder}/"


def _kernels(files: FileSet) -> Iterator[tuple[int, str]]:
    distributions = files.distributions()
    packages: dict[tuple[str | None, ...], Node] = {}
    yield from find_twice([kernel.get("release") for kernel in files.kernels()], "kernels", "cell ids must be unique")
    for index, kernel in enumerate(files.kernels()):
        where = f"kernels[{index}]"
        distribution, arch = kernel.get("distribution"), kernel.get("arch")
        if distribution.text and distribution.text not in distributions:
            near = suggest(distribution.text, distributions)
            yield (
                distribution.line,
                f"{where}.distribution: no distribution {distribution.text!r}{near} {allowed(distributions)}",
            )
        elif distribution.text and arch.text:
            arches = distributions[distribution.text].get("arches").texts()
            if arches and arch.text not in arches:
                yield arch.line, f"{where}.arch: {distribution.text} has no arch {arch.text!r} {allowed(arches)}"
        yield from _compiler(kernel.get("compiler"), f"{where}.compiler")
        core = kernel.get("core")
        package = (distribution.text, arch.text, core.get("name").text, core.get("evr").text)
        if None not in package and package in packages:
            first = packages[package]
            owner = f"the package of {first.get('release').raw} already (line {first.line})"
            yield core.line, f"{where}.core: {package[2]} = {package[3]} is {owner}"
        packages.setdefault(package, kernel)


def _compiler(compiler: Node, where: str) -> Iterator[tuple[int, str]]:
    """The kernel's own words about its compiler, against the compiler that is to be called."""
    text = compiler.get("version_text")
    for key in ("command", "package"):
        named = compiler.get(key)
        if text.text and named.text and generation_of_command(named.text).contradicts(generation_of_text(text.text)):
            yield named.line, f"{where}.{key}: {named.text!r} is not what version_text says: {text.text!r}"
            return


def _branch(name: str, node: Node) -> Iterator[tuple[int, str]]:
    where = f"branches.{name}"
    if not re.fullmatch(_BRANCH, name):
        yield node.line, f"{where}: {name!r} is not {PATTERNS[_BRANCH]}"
    drivers = node.get("drivers")
    if drivers.kind == "list" and not drivers.elements:
        yield drivers.line, f"{where}.drivers: branch {name} has no driver: give one, or take the branch out"
    yield from _sources_that_end(node, where)


def _sources_that_end(branch: Node, where: str) -> Iterator[tuple[int, str]]:
    """A driver without what an older one of its branch has beside the .run: hosts that have it could not upgrade."""
    drivers = [d for d in branch.get("drivers").elements if re.fullmatch(_VERSION, d.get("version").text or "")]
    drivers.sort(key=lambda d: cmp_to_key(compare_evr)(d.get("version").raw))
    had: dict[tuple[str, str], str] = {}
    for driver in drivers:
        sources = driver.get("sources")
        here = {(s.get("kind").raw, s.get("arch").raw) for s in sources.elements}
        version = driver.get("version").raw
        for (kind, arch), older in had.items():
            if (kind, arch) not in here:
                message = f"no {kind} source for {arch}, which {older} has: hosts with its packages could not upgrade"
                yield sources.line, f"{where}: driver {version}: {message}"
        had |= {one: version for one in here if one[0] in ARCHIVE_KINDS.values()}


def _drivers(files: FileSet) -> Iterator[tuple[int, str]]:
    yield from find_twice([driver.get("version") for _, driver in files.drivers()], "branches", "one entry a version")
    arches = {arch for node in files.distributions().values() for arch in node.get("arches").texts()}
    for branch, driver in files.drivers():
        version = driver.get("version")
        where = f"branches.{branch}: driver {version.raw or '?'}"
        if version.text and re.fullmatch(_VERSION, version.text) and version.text.split(".")[0] != branch:
            yield version.line, f"{where}: does not belong to branch {branch} (its versions are {branch}.…)"
        yield from find_twice(driver.get("flavors").elements, f"{where}: flavors")
        yield from find_twice(driver.get("modules").elements, f"{where}: modules")
        yield from _sources(driver.get("sources"), where, arches)


def _sources(sources: Node, where: str, arches: set[str]) -> Iterator[tuple[int, str]]:
    if sources.kind != "list":
        return
    if not any(source.get("kind").text == "run" for source in sources.elements):
        yield sources.line, f"{where}: no source of kind run: nothing can be built"
    seen: dict[tuple[str | None, str | None], int] = {}
    for source in sources.elements:
        kind, arch, url = source.get("kind"), source.get("arch"), source.get("url")
        if kind.text not in ("open-source", None) and arch.text == "noarch":
            message = f"a source of kind {kind.text} is for one arch, not noarch {allowed(sorted(arches))}"
            yield arch.line, f"{where}: {message}"
        elif arch.text and arch.text != "noarch" and arches and arch.text not in arches:
            yield arch.line, f"{where}: no distribution has arch {arch.text!r} {allowed(sorted(arches))}"
        if (kind.text, arch.text) in seen:
            first = seen[kind.text, arch.text]
            yield source.line, f"{where}: a second {kind.text} source for {arch.text}; first on line {first}"
        seen.setdefault((kind.text, arch.text), source.line)
        yield from _template(url, f"{where}: url")
        yield from _url(url, f"{where}: url")


def _template(url: Node, where: str) -> Iterator[tuple[int, str]]:
    """Unknown placeholders; ``str.format`` would also take attributes, indexes and formats, which nobody needs."""
    if not url.text:
        return
    known = [f"{{{name}}}" for name in _PLACEHOLDERS]
    try:
        for _, name, spec, conversion in Formatter().parse(url.text):
            if name is None or (name in _PLACEHOLDERS and not spec and not conversion):
                continue
            typed = name + (f"!{conversion}" if conversion else "") + (f":{spec}" if spec else "")
            near = "" if name in _PLACEHOLDERS else suggest(f"{{{name}}}", known)
            yield url.line, f"{where}: unknown placeholder {{{typed}}}{near} {allowed(known)}"
    except ValueError as exc:
        yield url.line, f"{where}: {url.text!r} is no template: {exc} {allowed(known)}"


def _url(url: Node, where: str) -> Iterator[tuple[int, str]]:
    if url.text and "://" in url.text and not url.text.startswith(_SCHEMES):
        yield url.line, f"{where}: unknown scheme in {url.text!r} {allowed(_SCHEMES)}, or a path"


def _excludes(files: FileSet) -> Iterator[tuple[int, str]]:
    known = cell_ids(files)
    for index, rule in enumerate(files.matrix.get("exclude").elements):
        cells = rule.get("cells")
        if cells.text and not any(fnmatchcase(cell, cells.text) for cell in known):
            near = suggest(cells.text, known)
            yield (
                cells.line,
                f"exclude[{index}].cells: {cells.text!r} matches no cell{near} (repobuild cells lists them)",
            )


def _qualification(files: FileSet) -> Iterator[tuple[int, str]]:
    known = sorted(tree.expected for tree in files.streams)
    for name, node in files.matrix.get("qualification").get("streams").entries.items():
        if name not in known:
            yield node.line, f"qualification.streams: no stream {name!r}{suggest(name, known)} {allowed(known)}"


def _keys(files: FileSet) -> Iterator[tuple[int, str]]:
    """Keys follow each other, each with its day."""
    before = ""
    for index, key in enumerate(files.matrix.get("integrity").get("keys").elements):
        where, file, start = f"integrity.keys[{index}]", key.get("file"), key.get("from")
        if file.text and not (files.folder / file.text).is_file():
            yield file.line, f"{where}.file: no file {file.text!r}"
        if index == 0 and start.text is not None:
            yield start.line, f"{where}.from: the first key signs from the beginning"
        elif index > 0 and start.value is None:
            yield key.line, f"{where}: since which day does it sign? Give `from`"
        elif index > 0 and start.text is not None and start.text <= before:
            yield start.line, f"{where}.from: {start.text!r} is not after {before!r}: keys stand here oldest first"
        before = start.text or before
