"""The open kernel tree: its objects built from NVIDIA's source release, and the package that carries it for people."""

from __future__ import annotations

from builder.errors import RenderError
from builder.model.cells import Unit
from builder.model.matrix import Distribution, Driver, Flavor, Matrix
from builder.model.naming import driver_evr, package_nevra, stream_provides, stream_requires
from builder.model.nevra import Nevra
from builder.model.sources import DriverSources, SourceFile, SpecFile
from builder.render.templates import fill_spec
from builder.render.values import require_nevra, require_word, unit_payload

OPEN_TREE_FOLDER = "/usr/lib/nvidia-open-tree"  # of kernel-open/ in the package it leaves the buildroot in
# As NVIDIA's own Makefile names what it builds from src/.
OPEN_OBJECTS = ("nvidia/nv-kernel.o_binary", "nvidia-modeset/nv-modeset-kernel.o_binary")


def render_open_tree(
    driver: Driver, distribution: Distribution, arch: str, tarball: SourceFile, matrix: Matrix
) -> SpecFile:
    """The spec that makes a driver's open kernel tree; raises RenderError for values that cannot stand in one."""
    evr = driver_evr(driver, distribution, matrix)
    nevra = require_nevra(Nevra(name="nvidia-open-tree", evr=evr, arch=arch))
    text = fill_spec(
        "nvidia-open-tree.spec.j2",
        nevra=nevra,
        version=driver.version,
        vendor=matrix.vendor,
        payload="w0.ufdio",  # it is unpacked at once
        source=require_word(tarball.filename, "source file name"),
        objects=OPEN_OBJECTS,
        folder=OPEN_TREE_FOLDER,
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tarball,))


def render_open_source(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of the package that carries a driver's open kernel tree for people; raises RenderError without one."""
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    tree = dict(sources.kernel_trees).get(Flavor.OPEN)
    if tree is None:
        raise RenderError(f"{unit.id}: the archive has no open kernel tree")
    text = fill_spec(
        "nvidia-open-kernel-source.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        vendor=matrix.vendor,
        payload=unit_payload(unit),
        stream_provides=stream_provides(unit, unit.kind.value, nevra.evr),
        stream_requires=stream_requires(unit, matrix),
        source=require_word(tree.filename, "source file name"),
        folder=f"/usr/src/nvidia-open-{unit.driver.version}",
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tree,))
