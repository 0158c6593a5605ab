"""matrix.lock.yaml: which bytes each source really was. Written by ``repobuild pin`` only."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import yaml

from builder.config.faults import find_twice, validate
from builder.config.nodes import read_yaml
from builder.config.schema import LockFile
from builder.errors import ConfigError, Mistake
from builder.model.matrix import Lock, Pin
from builder.store.files import os_failure, sync_path

_HEADER = "# written by repobuild pin; digests of bytes that were really fetched, never typed\n"


def load_lock(path: Path) -> Lock:
    """The pins of a lock file; an empty Lock where there is no such file. Raises ConfigError with all mistakes."""
    if not path.exists():
        return Lock()
    mistakes: list[Mistake] = []
    node = read_yaml(path, mistakes)
    checked = validate(LockFile, node, str(path), mistakes) if node else None
    if node:
        urls = [pin.get("url") for pin in node.get("pins").elements]
        mistakes += [Mistake(file=str(path), line=line, message=text) for line, text in find_twice(urls, "pins")]
    if mistakes or checked is None:
        raise ConfigError(mistakes, hint=f"remove {path.name} and run repobuild pin, which writes it whole")
    pins = (Pin(url=entry.url, sha256=entry.sha256, size=entry.size) for entry in checked.pins)
    return Lock(pins=tuple(sorted(pins, key=lambda pin: pin.url)))


def write_lock(path: Path, lock: Lock) -> None:
    """Replace a lock file in one step, sorted by URL; the old one stays whole when anything fails.

    Raises DiskFullError or StoreError.
    """
    pins = sorted(lock.pins, key=lambda pin: pin.url)
    document = {"schema": 1, "pins": [{"url": p.url, "sha256": p.sha256, "size": p.size} for p in pins]}
    text = _HEADER + yaml.safe_dump(document, sort_keys=False, width=1000, allow_unicode=True)
    try:
        with tempfile.NamedTemporaryFile(dir=path.absolute().parent, prefix=f".{path.name}.", delete=False) as file:
            try:
                file.write(text.encode())
                file.flush()
                os.fchmod(file.fileno(), 0o644)
                os.fsync(file.fileno())
                Path(file.name).replace(path)
            except BaseException:
                Path(file.name).unlink(missing_ok=True)
                raise
        sync_path(path.absolute().parent)
    except OSError as exc:
        raise os_failure(exc, path) from exc
