"""Serials of results that were removed: a release number stays used though nothing of it is left.

``store/serials.json``: by scope the highest serial that a removed result had. The ledger knows them as well; this file
is for the day that it is lost (docs/adr/0009-release-serials.md).
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from builder.errors import StoreError
from builder.store.files import sync_path


def _file(work: Path) -> Path:
    return work / "store/serials.json"


def read_serials(work: Path) -> dict[str, int]:
    """By scope the highest serial of a removed result. Raises StoreError when the file is damaged."""
    path = _file(work)
    try:
        return {str(scope): int(serial) for scope, serial in json.loads(path.read_text()).items()}
    except FileNotFoundError:
        return {}
    except (ValueError, AttributeError, TypeError) as exc:
        raise StoreError(
            f"{path}: damaged: {exc}",
            hint="move it away if ledger.sqlite is whole: it holds the same serials",
        ) from exc


def remember_serials(work: Path, removed: Mapping[str, int]) -> None:
    """Add serials by one rename; a lower one than what is known changes nothing."""
    known = read_serials(work)
    merged = known | {scope: max(serial, known.get(scope, 0)) for scope, serial in removed.items()}
    if merged != known:
        fresh = _file(work).with_suffix(".new")
        fresh.write_text(json.dumps(merged, indent=0, sort_keys=True))
        sync_path(fresh)
        fresh.replace(_file(work))
        sync_path(_file(work).parent)
