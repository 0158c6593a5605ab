"""What a publication itself holds: its folder has files of former ones, too, for clients in flight."""

from __future__ import annotations

import json
from pathlib import Path

from builder.publish.in_flight import FORMER, former_files
from builder.publish.manifest import is_of_manifest
from builder.tools.createrepo import read_repomd


def listed_rpms(publication: Path, name: str = "") -> list[Path]:
    """The RPMs that its record names, those whose file names begin with ``name``, sorted."""
    record = json.loads((publication / "publication.json").read_text())
    files = sorted(str(row["file"]) for row in record["packages"])
    return [publication / file for file in files if file.rpartition("/")[2].startswith(name)]


def content_tree(publication: Path) -> dict[str, bytes]:
    """Bytes by place of what follows from its content: no manifest, which has a number, nor files of former ones."""
    own = {path.relative_to(publication).as_posix() for path in listed_rpms(publication)}
    for repomd in publication.rglob("repomd.xml"):
        tree = repomd.parents[1].relative_to(publication)
        own |= {(tree / record.href).as_posix() for record in read_repomd(repomd)}
    without = {FORMER, *(set(former_files(publication)) - own)}
    there = (path for path in (*sorted(publication.rglob("*")), *listed_rpms(publication)) if path.is_file())
    files = {path.relative_to(publication).as_posix(): path for path in there}
    return {name: p.read_bytes() for name, p in files.items() if name not in without and not is_of_manifest(name)}
