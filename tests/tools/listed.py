"""What a publication itself holds: its folder has RPMs of former ones, too, for clients in flight."""

from __future__ import annotations

import json
from pathlib import Path


def listed_rpms(publication: Path, name: str = "") -> list[Path]:
    """The RPMs that its record names, those whose file names begin with ``name``, sorted."""
    record = json.loads((publication / "publication.json").read_text())
    files = sorted(str(row["file"]) for row in record["packages"])
    return [publication / file for file in files if file.rpartition("/")[2].startswith(name)]
