"""The root of a cell once more, from a local repository of exactly the RPMs that its lock names (ADR 0033).

mock's own ``--hermetic-build`` does the same with a bootstrap image from a registry; this needs none, and asks
nothing of a builder but its contract, nor of the matrix's repositories, whatever they have by now.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from builder.build import open_builder
from builder.errors import DiskFullError, InterruptedRunError, RepobuildError, SelectionError, StoreError, VerifyError
from builder.fetch import fetch_locked, rpm_filename
from builder.model.cells import BuildResult, Unit
from builder.model.keys import Inputs
from builder.model.matrix import Chroot, RepositoryRef
from builder.model.sources import Buildroot, LockedRpm
from builder.pipeline.kernels import read_kernel_devel
from builder.pipeline.open_tree import find_open_trees
from builder.pipeline.workshop import Facts, Workshop
from builder.plan.changes import describe_packages
from builder.render import render_mock_config
from builder.store import LOCK_FILE, Store, read_inputs, read_root_lock
from builder.tools.createrepo import write_metadata

_ID = "locked"


@dataclass(frozen=True, slots=True, kw_only=True)
class Former:
    """A cell as it was built: from what, and with which packages its modules were compiled."""

    result: BuildResult
    inputs: Inputs
    lock: tuple[LockedRpm, ...] | None  # None where its modules, or their lock, are not there


def find_former(shop: Workshop, unit: Unit) -> Former | None:
    """The newest build of a cell that this run's signer signed, else anybody's; None where nothing is known of one.

    One with a lock comes before those without.
    """
    found = []
    for key in shop.store.ledger.keys_of(unit.scope):
        try:
            result = shop.store.result(key)
        except StoreError:  # a run tells it
            continue
        inputs = read_inputs(result.folder) if result is not None else None
        if result is None or inputs is None:
            continue
        parts = dict(inputs.parts.parts)
        modules = shop.store.folder("modules", parts["modules"]) if "modules" in parts else None
        lock = read_root_lock(modules) if modules is not None else None
        rank = (lock is not None, parts.get("signer") == shop.signing.identity)
        found.append((rank, Former(result=result, inputs=inputs, lock=lock)))
    return max(found, key=lambda pair: pair[0])[1] if found else None  # the first of those alike: the newest


@contextmanager
def hermetic(shop: Workshop, unit: Unit) -> Iterator[tuple[Workshop, Former]]:
    """A workshop whose one buildroot is of what the lock of a cell's newest build names, and that build.

    The root lies in a store of its own that is gone afterwards; the RPMs stay among the store's sources.

    Raises SelectionError where the cell was never built; VerifyError where there is no lock, not everything in it can
    be had with its digest, or the packages make another base; and what preparing a root raises.
    """
    former = find_former(shop, unit)
    if former is None:
        raise SelectionError(
            f"{unit.id}: was not built, so there is nothing to compare with",
            hint=f"repobuild build --select '{unit.id}'",
        )
    if former.lock is None:
        raise VerifyError(
            f"{unit.id}: has no {LOCK_FILE} beside its modules",
            hint="it was compiled on the host itself, by a host with dnf 5, or by an earlier version",
        )
    chroot = shop.chroot(unit)
    with shop.store.tmp() as tmp:
        repository = tmp / "repository"
        known = _collect(shop, unit.id, former.lock, repository)
        write_metadata(repository, list(known), None, epoch=0, known=known)
        with Store.open(tmp / "work") as store:
            builder = open_builder(
                shop.builder.name, store, lambda wanted: render_mock_config(wanted, unit.distribution)
            )
            buildroot = builder.prepare(replace(chroot, repositories=(_only(repository, chroot),)))
            _same_base(unit.id, former.inputs, buildroot)
            facts = Facts(sources=shop.facts.sources, buildroots={chroot.name: buildroot}, archives=shop.facts.archives)
            assert unit.cell is not None  # noqa: S101  only cells are rebuilt
            kernel = unit.cell.kernel
            facts.kernels[unit.distribution.name, kernel.release] = read_kernel_devel(kernel, buildroot, store)
            own = replace(shop, builder=builder, facts=facts)
            find_open_trees(own)
            yield own, former


def _collect(shop: Workshop, cell_id: str, lock: tuple[LockedRpm, ...], repository: Path) -> dict[str, str]:
    """Link every RPM of a lock into a repository; returns sha256 by place in it. What the store lacks is fetched."""
    (repository / "Packages").mkdir(parents=True)
    known, faults = {}, []
    for package in lock:
        try:
            path = shop.try_again("fetch", package.nevra, partial(fetch_locked, package, shop.store))
        except (DiskFullError, InterruptedRunError):
            raise
        except RepobuildError as exc:
            faults.append(f"{package.nevra}: {exc.message}")
            continue
        href = f"Packages/{rpm_filename(package)}"
        os.link(path, repository / href)
        known[href] = package.sha256
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


def _same_base(cell_id: str, inputs: Inputs, made: Buildroot) -> None:
    if made.identity != inputs.parts.buildroot:
        raise VerifyError(
            f"{cell_id}: the packages of its lock make another base than it was compiled in",
            details=list(describe_packages(inputs.packages, made.packages)),
            hint="the buildroot's packages in matrix.yaml may be others now",
        )
