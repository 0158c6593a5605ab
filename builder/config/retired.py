"""matrix.retired.yaml: what left the publications at the end of its lifetime. Written by ``repobuild prune``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from builder.config.errata_checks import day_faults
from builder.config.faults import validate
from builder.config.nodes import read_yaml
from builder.config.schema import DAY, RetiredFile
from builder.errors import ConfigError, Mistake
from builder.model.lifetimes import Retired
from builder.store.files import os_failure, write_atomic

_HEADER = "# written by repobuild prune; remove an entry and what it names is built and published again\n"


def load_retired(path: Path) -> tuple[Retired, ...]:
    """The entries of the file; none where there is no such file. Raises ConfigError with all mistakes."""
    if not path.exists():
        return ()
    mistakes: list[Mistake] = []
    node = read_yaml(path, mistakes)
    checked = validate(RetiredFile, node, str(path), mistakes) if node else None
    for index, entry in enumerate(node.get("retired").elements if node else ()):
        faults = day_faults(entry.get("on"), DAY, f"retired[{index}].on")
        mistakes += [Mistake(file=str(path), line=line, message=text) for line, text in faults]
    if mistakes or checked is None:
        raise ConfigError(mistakes, hint="docs/errata.md says what stands in this file")
    return tuple(Retired(kind=e.kind, name=e.name, on=e.on, reason=e.reason) for e in checked.retired)


def write_retired(path: Path, retired: Sequence[Retired]) -> None:
    """Replace the file in one step, in the order given. Raises DiskFullError or StoreError."""
    rows = [{"kind": r.kind, "name": r.name, "on": r.on, "reason": r.reason} for r in retired]
    text = _HEADER + yaml.safe_dump({"schema": 1, "retired": rows}, sort_keys=False, width=1000, allow_unicode=True)
    try:
        write_atomic(path.absolute(), text.encode())
    except OSError as exc:
        raise os_failure(exc, path) from exc
