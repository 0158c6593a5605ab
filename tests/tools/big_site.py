"""A matrix of any number of cells with everything known of it, as planning finds it; nothing was built."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builder.model.matrix import Branch, Driver, Kernel, Kmods, Matrix, Source, Stream
from builder.model.planning import Excluded
from builder.model.sources import Buildroot, KernelDevel
from builder.pipeline.configure import Configuration
from builder.pipeline.events import ignore
from builder.pipeline.workshop import Facts, Workshop
from builder.plan.cells import expand_cells
from builder.plan.units import kmod_unit, package_units
from builder.store import Store
from tests.golden import sample


def big_matrix(kernels: int, branches: int) -> Matrix:
    """So many kernels and branches, one driver a branch, both flavors, a stream for each."""
    live = tuple(_kernel(number) for number in range(kernels))
    drivers = tuple(_driver(f"{number}.10.01") for number in range(500, 500 + branches))
    streams = tuple(
        Stream(
            name=f"r{driver.branch}{'-open' if flavor.value == 'open' else ''}",
            branch=driver.branch,
            flavor=flavor,
            kmods=Kmods.PRECOMPILED,
            default=False,
            summary="x",
            description="x",
            profiles=(),
            default_profile="default",
        )
        for driver in drivers
        for flavor in driver.flavors
    )
    distribution = sample.distribution(kernels=live)
    made = tuple(
        Branch(name=d.branch, type="LTS", eol=None, max_cuda=None, gpus=(), drivers=(d,), note=None) for d in drivers
    )
    return replace(sample.matrix(distribution), branches=made, streams=streams)


def _kernel(number: int) -> Kernel:
    return sample.kernel(f"5.14.0-{1000 + number}.1.1.el9.x86_64", f"5.14.0-{1000 + number}.1.1.el9")


def _driver(version: str) -> Driver:
    source = Source(kind="run", arch="x86_64", url=f"file:///NVIDIA-Linux-x86_64-{version}.run")
    return replace(sample.driver(version), sources=(source,))


def configuration_of(matrix: Matrix) -> Configuration:
    """The cells and units of a matrix, all selected."""
    cells, excluded = expand_cells(matrix)
    units = (*(kmod_unit(cell) for cell in cells), *package_units(matrix, cells))
    lock: Any = None
    return Configuration(
        matrix=matrix,
        lock=lock,
        cells=cells,
        excluded=tuple(Excluded(cell=cell, reason=reason) for cell, reason in excluded),
        units=units,
        selected=frozenset(unit.id for unit in units),
    )


def facts_of(matrix: Matrix) -> Facts:
    """Sources of each driver, the buildroot and each kernel."""
    facts = Facts()
    for branch in matrix.branches:
        for driver in branch.drivers:
            facts.sources[driver.version, "x86_64"] = sample.sources(driver)
    (distribution,) = matrix.distributions
    chroot = distribution.chroots[0]
    facts.buildroots[chroot.name] = Buildroot(chroot=chroot, identity="b", packages=(), path=None)
    for kernel in distribution.kernels:
        facts.kernels[distribution.name, kernel.release] = KernelDevel(
            release=kernel.release,
            sha256=f"{kernel.release:x<64}",
            symvers=Path("/nowhere"),
            compiler_text="",
            ecdsa=False,
        )
    return facts


@contextmanager
def big_site(work: Path, matrix: Matrix) -> Iterator[Workshop]:
    """A workshop with all of that over a store in ``work``."""
    signing: Any = SimpleNamespace(certificate=None, identity="", name=None)
    rest: Any = SimpleNamespace(recipe="r", workers=1, fail_fast=False)
    with Store.open(work) as store:
        yield Workshop(
            settings=rest,
            configuration=configuration_of(matrix),
            store=store,
            builder=rest,
            signing=signing,
            listener=ignore,
            facts=facts_of(matrix),
        )
