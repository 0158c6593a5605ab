"""The spec that builds the kernel-independent objects of the open modules from NVIDIA's source release."""

from __future__ import annotations

from builder.model.matrix import Distribution, Driver, Matrix
from builder.model.naming import driver_evr
from builder.model.nevra import Nevra
from builder.model.sources import SourceFile, SpecFile
from builder.render.templates import fill_spec
from builder.render.values import require_nevra, require_word

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
