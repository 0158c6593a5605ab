"""The open kernel tree with objects built from source, in place of the one that a .run has."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path, PurePosixPath

from builder.errors import SourceError
from builder.fetch.prepare import OBJECT_SUFFIX
from builder.fetch.tarballs import write_tarball
from builder.model.matrix import Flavor
from builder.model.sources import DriverSources, KernelObject, SourceFile
from builder.tools.rpms import extract_members, file_sha256, read_header

_INDEX = "open-tree.json"


def keep_open_tree(rpm: Path, prefix: str, base: DriverSources, folder: Path, scratch: Path) -> None:
    """Make of the tree that an RPM has below ``prefix`` what ``with_open_tree`` reads from ``folder``.

    Raises SourceError when the RPM holds no object there.
    """
    members = [path for path in read_header(rpm).files if path.startswith(f"{prefix}/")]
    for path, data in extract_members(rpm, members).items():
        target = scratch / path.removeprefix(f"{prefix}/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if target.suffix == ".sh" else 0o644)
    objects = []
    for built in sorted(scratch.glob(f"*/*{OBJECT_SUFFIX}")):
        kept = folder / built.name
        kept.write_bytes(built.read_bytes())
        objects.append({"module": built.parent.name, "filename": built.name, "sha256": file_sha256(kept)})
    if not objects:
        raise SourceError(f"{rpm.name}: building the open source left no object", hint="see its build.log")
    stem = f"nvidia-kmod-{base.driver_version}-{Flavor.OPEN.value}"
    name = f"{stem}-{base.arch}.tar.gz"
    sha256, size = write_tarball(folder / name, scratch, stem, leave_out=frozenset(), mtime=base.source_date_epoch)
    document = {"tree": {"filename": name, "sha256": sha256, "size": size}, "objects": objects}
    (folder / _INDEX).write_text(json.dumps(document, indent=1, sort_keys=True))


def with_open_tree(base: DriverSources, folder: Path) -> DriverSources:
    """The sources of a driver with the open tree of ``folder`` in place of its archive's."""
    document = json.loads((folder / _INDEX).read_text())
    tree = SourceFile(path=folder / document["tree"]["filename"], **document["tree"])
    objects = tuple(
        KernelObject(path=folder / o["filename"], size=(folder / o["filename"]).stat().st_size, **o)
        for o in document["objects"]
    )
    trees = {**dict(base.kernel_trees), Flavor.OPEN: tree}
    found = {**dict(base.objects), Flavor.OPEN: objects}
    return replace(
        base,
        kernel_trees=tuple((flavor, trees[flavor]) for flavor in Flavor if flavor in trees),
        objects=tuple((flavor, found[flavor]) for flavor in Flavor if flavor in found),
    )


def tarball_file(path: Path, sha256: str) -> SourceFile:
    """A fetched source release as a source of a spec."""
    return SourceFile(filename=PurePosixPath(path).name, path=path, sha256=sha256, size=path.stat().st_size)
