"""The root of a cell once more, from a local repository of exactly the RPMs that its lock names (ADR 0033).

mock's own ``--hermetic-build`` does the same with a bootstrap image from a registry; this needs none, and asks
nothing of a builder but its contract.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.build import open_builder
from builder.errors import FetchError, RepobuildError, VerifyError
from builder.fetch import download
from builder.model.matrix import Chroot, RepositoryRef
from builder.model.sources import Buildroot
from builder.pipeline.specs import Job
from builder.pipeline.workshop import Workshop
from builder.render import render_mock_config
from builder.store import LOCK_FILE, Store
from builder.tools.createrepo import write_metadata

_ID = "locked"


@contextmanager
def hermetic(shop: Workshop, job: Job, lock: Path, tmp: Path) -> Iterator[tuple[Workshop, Job]]:
    """The workshop and the job with the root that ``lock`` names, in a store of its own below ``tmp``.

    Raises VerifyError where there is no lock, or not everything in it can be had with its digest, or the packages make
    another base; and what preparing a root raises.
    """
    chroot = job.buildroot.chroot
    if not lock.is_file():
        raise VerifyError(
            f"{job.unit.id}: has no {LOCK_FILE} beside its modules",
            hint="it was compiled on the host itself, by a host with dnf 5, or by an earlier version",
        )
    repository = tmp / "repository"
    known = _collect(job.unit.id, lock, repository, tmp)
    write_metadata(repository, list(known), None, epoch=0, known=known)
    own = replace(chroot, repositories=(_only(repository, chroot),))
    with Store.open(tmp / "work") as store:
        builder = open_builder(
            shop.builder.name, store, lambda wanted: render_mock_config(wanted, job.unit.distribution)
        )
        buildroot = builder.prepare(own)
        _same_base(job, buildroot)
        yield replace(shop, builder=builder), replace(job, buildroot=buildroot)


def _collect(cell_id: str, lock: Path, repository: Path, tmp: Path) -> dict[str, str]:
    """Fetch every RPM of a lock; returns sha256 by place in the repository."""
    (repository / "Packages").mkdir(parents=True)
    part = tmp / "part"
    part.mkdir()
    known, faults = {}, []
    for row in json.loads(lock.read_text())["buildroot"]["rpms"]:
        name = f"{row['name']}-{row['version']}-{row['release']}.{row['arch']}"
        try:
            if row["url"] is None or row["sha256"] is None:
                raise FetchError("the lock does not say where it is")
            found = download(row["url"], part)
            if found.sha256 != row["sha256"]:
                raise FetchError(f"{row['url']}: has other bytes than the lock says")
        except RepobuildError as exc:
            faults.append(f"{name}: {exc.message}")
            continue
        href = f"Packages/{Path(unquote(urlsplit(row['url']).path)).name}"
        found.path.rename(repository / href)
        known[href] = found.sha256
    if faults:
        raise VerifyError(
            f"{cell_id}: {len(faults)} of the packages that it was compiled with cannot be had any more",
            details=faults,
            hint="a mirror that keeps former versions has them; the lock names each with its digest",
        )
    return known


def _only(repository: Path, chroot: Chroot) -> RepositoryRef:
    """All keys of the chroot's repositories: whoever signed a package then signs it now.

    Where one of them has no signatures dnf cannot be asked for any here; the digests of the lock hold for all.
    """
    keys = [r.gpgkey if urlsplit(r.gpgkey).scheme else f"file://{r.gpgkey}" for r in chroot.repositories if r.gpgkey]
    return RepositoryRef(
        id=_ID,
        baseurl=repository.as_uri(),
        gpgcheck=all(r.gpgcheck for r in chroot.repositories),
        gpgkey=" ".join(dict.fromkeys(keys)) or None,
    )


def _same_base(job: Job, made: Buildroot) -> None:
    if made.identity != job.buildroot.identity:
        differing = sorted(set(job.buildroot.packages) ^ set(made.packages))
        raise VerifyError(
            f"{job.unit.id}: the packages of its lock make another base than it was compiled in",
            details=differing,
        )
