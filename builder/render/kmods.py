"""Specs made of a kernel tree: precompiled modules for one kernel, and the sources for DKMS."""

from __future__ import annotations

from builder.errors import RenderError
from builder.model.cells import Cell, Unit
from builder.model.matrix import Driver, Flavor, Kernel, Matrix
from builder.model.naming import dkms_capability, driver_ev, kmod_folder, kmod_long_name, kmod_nevra, package_nevra
from builder.model.sources import DriverSources, SourceFile, SpecFile
from builder.render.templates import fill_spec
from builder.render.values import require_compression, require_name, require_nevra, require_payload, require_word

# All modules that NVIDIA's Makefile builds when their folder is in the tree (kernel-open/Makefile, NV_KERNEL_MODULES).
MAKEFILE_MODULES = ("nvidia", "nvidia-uvm", "nvidia-vgpu-vfio", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
LICENSES = {Flavor.PROPRIETARY: "NVIDIA", Flavor.OPEN: "MIT AND GPL-2.0-only"}
SUFFIXES = {"none": "", "xz": ".xz", "zstd": ".zst"}


def render_kmod(cell: Cell, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of a cell's kmod package; raises RenderError for values that cannot stand in one."""
    nevra = require_nevra(kmod_nevra(cell, matrix, serial=serial))
    tree = _kernel_tree(sources, cell.flavor, cell.driver)
    distribution = cell.distribution
    compression = require_compression(distribution.kmod_compression)
    text = fill_spec(
        "kmod-nvidia.spec.j2",
        nevra=nevra,
        version=cell.driver.version,
        flavor=cell.flavor.value,
        license=LICENSES[cell.flavor],
        vendor=matrix.vendor,
        payload=require_payload(distribution.payload),
        source=tree.filename,
        kernel=_checked(cell.kernel),
        long_name=require_name(kmod_long_name(cell), "Provides"),
        modules=_modules(cell.driver),
        excluded=_excluded(cell.driver),
        folder=kmod_folder(cell.kernel),
        compression=compression,
        suffix=SUFFIXES[compression],
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tree,))


def render_dkms(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of dkms-nvidia for one flavor; raises RenderError for values that cannot stand in one."""
    flavor = unit.flavor
    if flavor is None:
        raise RenderError(f"{unit.id}: a dkms package needs a flavor")
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    tree = _kernel_tree(sources, flavor, unit.driver)
    text = fill_spec(
        "dkms-nvidia.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        ev=driver_ev(unit.driver, matrix),
        flavor=flavor.value,
        license=LICENSES[flavor],
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        source=tree.filename,
        capability=dkms_capability(flavor),
        modules=_modules(unit.driver),
        excluded=_excluded(unit.driver),
        folder=f"/usr/src/nvidia-{unit.driver.version}",
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tree,))


def _kernel_tree(sources: DriverSources, flavor: Flavor, driver: Driver) -> SourceFile:
    try:
        tree = sources.kernel_tree(flavor)
    except KeyError:
        raise RenderError(
            f"driver {driver.version}: its archive has no {flavor.value} kernel tree",
            hint=f"take {flavor.value} out of the driver's flavors in matrix.yaml",
        ) from None
    require_word(tree.filename, "source file name")
    return tree


def _modules(driver: Driver) -> tuple[str, ...]:
    if not driver.modules:
        raise RenderError(f"driver {driver.version}: no kernel module is asked for", hint="list its modules")
    return tuple(require_name(module, "kernel module") for module in driver.modules)


def _excluded(driver: Driver) -> tuple[str, ...]:
    return tuple(module for module in MAKEFILE_MODULES if module not in driver.modules)


def _checked(kernel: Kernel) -> Kernel:
    require_word(kernel.release, "kernel release")
    require_word(kernel.devel_path, "devel path")
    require_word(kernel.compiler.command, "compiler command")
    for name in (kernel.core.name, kernel.devel.name, kernel.compiler.package):
        require_name(name, f"kernel {kernel.release}: package")
    for evr in (kernel.core.evr, kernel.devel.evr):
        require_word(str(evr), f"kernel {kernel.release}: EVR")
    return kernel
