"""A part of a publication as a publication of its own: some streams, some kernels, metadata of exactly these.

RPMs are taken as they are, with their signatures; metadata and record are made and signed anew. A gate still asks for
the modules of a kernel that is left out, so that a host with that kernel is refused instead of losing its GPU.
"""

from __future__ import annotations

import fnmatch
import gzip
import hashlib
import json
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.errors import BundleError
from builder.model.cells import PackageKind
from builder.model.matrix import Delivery
from builder.model.naming import RELEASE_FILE
from builder.publish.beside import RELEASE
from builder.publish.generations import Generation
from builder.publish.module_checks import read_modules
from builder.publish.modulemd import select_streams
from builder.publish.order import Role, role_of
from builder.publish.record import RECORD
from builder.publish.trees import POOL_LINK, STREAMS
from builder.store import Derived
from builder.store.files import link_file
from builder.tools.createrepo import read_repomd, write_metadata

_SUPPORT = "support-matrix.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Selection:
    """What is taken of a generation."""

    streams: dict[str, frozenset[str]]  # artifacts by stream
    kernels: tuple[str, ...]  # releases; empty: all
    omitted: tuple[str, ...]  # names of the kmod packages that are left out
    whole: bool  # nothing is left out


def select(generation: Generation, streams: Sequence[str], kernels: Sequence[str]) -> Selection:
    """Choose streams by name and kernels by globs of their releases; nothing given: all of them.

    Raises BundleError for a stream or glob that fits nothing, listing what there is.
    """
    record = json.loads((generation.path / RECORD).read_bytes())
    delivery = record.get("delivery", Delivery.MODULAR.value)
    known = _streams(generation, record)
    _check_known("stream", streams, known)
    chosen = {name: artifacts for name, artifacts in known.items() if not streams or name in streams}
    packages = _kmods(generation) if kernels else {}
    for glob in kernels:
        if delivery == Delivery.BRANCH_PACKAGES.value:
            what = "one package has the modules of all kernels"
            raise BundleError(f"{generation.distribution}: {what}", hint="leave --kernel out")
        if not any(fnmatch.fnmatchcase(release, glob) for release in packages):
            raise BundleError(f"no kernel is called {glob!r}", details=sorted(packages), hint="--kernel takes globs")
    wanted = [r for r in packages if any(fnmatch.fnmatchcase(r, glob) for glob in kernels)]
    omitted = {name for release, name in packages.items() if release not in wanted} - {packages[r] for r in wanted}
    names = _names(generation)
    return Selection(
        streams={s: frozenset(a for a in own if names.get(a) not in omitted) for s, own in sorted(chosen.items())},
        kernels=tuple(sorted(wanted)),
        omitted=tuple(sorted(omitted)),
        whole=set(chosen) == set(known) and not omitted,
    )


def _check_known(what: str, given: Sequence[str], known: Collection[str]) -> None:
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise BundleError(f"no {what} is called {', '.join(map(repr, unknown))}", details=sorted(known))


def _streams(generation: Generation, record: Mapping[str, Any]) -> dict[str, frozenset[str]]:
    if "streams" in record:
        return {str(row["stream"]): frozenset(map(str, row["packages"])) for row in record["streams"]}
    index, faults = read_modules(_modules(generation.path))
    if index is None:
        raise BundleError(f"{generation.path}: {faults[0]}")
    return {stream.name: stream.artifacts for stream in index.streams}


def _modules(folder: Path) -> bytes:
    (href,) = (r.href for r in read_repomd(folder / "repodata/repomd.xml") if r.type == "modules")
    return gzip.decompress((folder / href).read_bytes())


def _kmods(generation: Generation) -> dict[str, str]:
    """The name of the kmod package of each kernel, by release: as the support matrix and ``kmod_name`` have them."""
    support = json.loads((generation.path / _SUPPORT).read_bytes())
    releases = [str(row["release"]) for row in support.get("kernels", ())]
    return {r: f"{PackageKind.KMOD.value}-{r.removesuffix(f'.{generation.arch}')}" for r in releases}


def _names(generation: Generation) -> dict[str, str]:
    """Package names by artifact; an artifact is name-epoch:version-release.arch, and only the last two have no dash."""
    return {artifact: artifact.rsplit("-", 2)[0] for artifact in generation.nevras}


def write_selection(generation: Generation, selection: Selection, folder: Path, sign: Callable[[Path], bytes]) -> str:
    """Fill an empty folder with the generation that a selection is; returns its digest.

    Pages are left out: they tell of the whole. ``support-matrix.json`` is narrowed.
    """
    record = json.loads((generation.path / RECORD).read_bytes())
    taken = frozenset().union(*selection.streams.values())
    if "streams" not in record:  # what belongs to no stream of a module
        taken |= {artifact for artifact, name in _names(generation).items() if name == RELEASE}
    rows = [row for row in record["packages"] if row["nevra"] in taken]
    for row in rows:
        link_file(generation.path / row["file"], folder / row["file"])
    repomds = _write_metadata(generation, selection, rows, folder, int(record["epoch"]))
    for repomd in repomds:
        repomd.with_suffix(".xml.asc").write_bytes(sign(repomd))
    files = _write_files(generation, selection, folder, record["files"])
    record |= {"packages": rows, "files": files, "of": generation.digest, "omitted": list(selection.omitted)}
    if "streams" in record:
        record["streams"] = [
            {**row, "packages": sorted(selection.streams[row["stream"]])}
            for row in record["streams"]
            if row["stream"] in selection.streams
        ]
    else:
        record["modules"] = hashlib.sha256(_modules(folder)).hexdigest()
    data = (json.dumps(record, sort_keys=True) + "\n").encode()
    (folder / RECORD).write_bytes(data)
    return hashlib.sha256(data).hexdigest()


def _write_metadata(
    generation: Generation, selection: Selection, rows: Sequence[Mapping[str, Any]], folder: Path, epoch: int
) -> list[Path]:
    places = {row["nevra"]: row["file"] for row in rows}
    if not (generation.path / STREAMS).is_dir():
        named = not any(r.type == "modules" for r in read_repomd(generation.path / "repodata/repomd.xml"))
        modules = None if named else select_streams(_modules(generation.path), selection.streams)
        if (generation.path / RELEASE_FILE).is_file():
            link_file(generation.path / RELEASE_FILE, folder / RELEASE_FILE)
        return [write_metadata(folder, list(places.values()), modules, epoch=epoch)]
    written = []
    derived = Derived()  # an RPM of several streams is read once
    for name, artifacts in selection.streams.items():
        tree = folder / STREAMS / name
        tree.mkdir(mode=0o755, parents=True)
        (tree / "Packages").symlink_to(POOL_LINK)
        written.append(write_metadata(tree, [places[a] for a in artifacts], None, epoch=epoch, derived=derived))
        link_file(generation.path / STREAMS / name / RELEASE_FILE, tree / RELEASE_FILE)
    record = json.loads((generation.path / RECORD).read_bytes())
    if any(row["default"] and row["stream"] in selection.streams for row in record["streams"]):
        link_file(generation.path / RELEASE_FILE, folder / RELEASE_FILE)
    return written


def _write_files(
    generation: Generation, selection: Selection, folder: Path, names: Mapping[str, str]
) -> dict[str, str]:
    """The files beside the packages that are true of a part, too; returns their digests."""
    kept = {}
    for name in sorted(names):
        if name.endswith(".html") or role_of(name) is Role.RECORD:
            continue
        data = (generation.path / name).read_bytes()
        data = _narrow(data, selection) if name == _SUPPORT else data
        (folder / name).write_bytes(data)
        kept[name] = hashlib.sha256(data).hexdigest()
    return kept


def _narrow(data: bytes, selection: Selection) -> bytes:
    document = json.loads(data)
    if "kernels" in document:
        document["streams"] = [row for row in document["streams"] if row["name"] in selection.streams]
        wanted = set(selection.kernels) or {row["release"] for row in document["kernels"]}
        document["kernels"] = [
            {**row, "streams": {s: offer for s, offer in row["streams"].items() if s in selection.streams}}
            for row in document["kernels"]
            if row["release"] in wanted
        ]
        document["cells"] = [row for row in document["cells"] if row["kernel"] in wanted]
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()
