"""Harm a copy of a published repository, with or without a key, as an attacker or a bad disk would."""

from __future__ import annotations

import gzip
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from builder.publish.in_flight import former_files
from builder.sign import Signer
from builder.tools.createrepo import read_repomd, write_metadata
from tests.tools.listed import listed_rpms
from tests.tools.publishing import EPOCH


def resign(signer: Signer, repo: Path) -> None:
    """Sign the repomd.xml that stands there, as somebody with a key could."""
    repomd = repo / "repodata/repomd.xml"
    (repo / "repodata/repomd.xml.asc").write_bytes(signer.sign_detached(repomd, epoch=EPOCH))


def reindex(signer: Signer, repo: Path, change: Callable[[list[dict[str, Any]]], object] | None = None) -> None:
    """Write fresh, consistent, signed metadata over the RPMs that stand there; module documents may be changed."""
    modules = _modules(repo)
    former = set(former_files(repo)) - {str(p.relative_to(repo)) for p in listed_rpms(repo)}
    documents = list(yaml.safe_load_all(gzip.decompress(modules.read_bytes())))
    if change is not None:
        change(documents)
    text = yaml.safe_dump_all(documents, sort_keys=False, explicit_start=True)
    shutil.rmtree(repo / "repodata")
    there = [str(p.relative_to(repo)) for p in repo.rglob("*.rpm")]
    write_metadata(repo, [name for name in there if name not in former], text.encode(), epoch=EPOCH)
    resign(signer, repo)


def _modules(repo: Path) -> Path:
    """Of former publications there may be others."""
    (record,) = (r for r in read_repomd(repo / "repodata/repomd.xml") if r.type == "modules")
    return repo / record.href


def overwrite(path: Path, data: bytes) -> None:
    """A new file in the place of a (possibly hard-linked) one."""
    path.unlink()
    path.write_bytes(data)


def flip(path: Path, offset: int = -5) -> None:
    """One bit, counted from the end."""
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    overwrite(path, bytes(data))


def alter_modules(repo: Path) -> None:
    """Rename a stream inside modules.yaml, leaving everything else."""
    modules = _modules(repo)
    overwrite(modules, gzip.compress(gzip.decompress(modules.read_bytes()).replace(b"r535-open", b"r535-evil")))


def alter_repomd(repo: Path) -> None:
    """Change repomd.xml under its old signature."""
    repomd = repo / "repodata/repomd.xml"
    overwrite(repomd, repomd.read_bytes().replace(b"<revision>", b"<revision>9"))
