"""Specs made of a kernel tree: modules of one kernel, compiled and packed, NVIDIA's objects, the sources for DKMS."""

from __future__ import annotations

from collections.abc import Iterable

from builder.errors import RenderError
from builder.model.cells import Cell, PackageKind, Unit
from builder.model.matrix import Driver, Flavor, Kernel, Matrix
from builder.model.naming import (
    CONFTEST_ANSWERS,
    JOIN_CAPABILITY,
    dkms_capability,
    driver_ev,
    kmod_folder,
    kmod_long_name,
    kmod_nevra,
    kmod_parts,
    modules_nevra,
    object_capability,
    objects_folder,
    package_nevra,
    stream_provides,
    stream_requires,
)
from builder.model.patches import Patch, patches_of
from builder.model.sources import DriverSources, KernelObject, SourceFile, SpecFile
from builder.render.templates import fill_spec, spec_source
from builder.render.values import require_name, require_nevra, require_payload, require_word, unit_payload

# All modules that NVIDIA's Makefile builds when their folder is in the tree (kernel-open/Makefile, NV_KERNEL_MODULES).
MAKEFILE_MODULES = ("nvidia", "nvidia-uvm", "nvidia-vgpu-vfio", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
LICENSES = {Flavor.PROPRIETARY: "NVIDIA", Flavor.OPEN: "MIT AND GPL-2.0-only"}
MODULES_FOLDER = "/usr/lib/nvidia-modules"  # of the compiled modules in the package they leave the buildroot in
CONFTEST_CACHE = "nvidia-conftest-cache.sh"
_MODULES_PAYLOAD = "w0.ufdio"  # it is unpacked at once, so packing it would cost time and save nothing


def render_modules(cell: Cell, sources: DriverSources, matrix: Matrix) -> SpecFile:
    """The spec that patches a cell's kernel tree and compiles its modules; its sources are the tree and the patches.

    Why a patch is there is not in it: another reason for the same bytes would compile them again. One
    more source is named that changes no byte and so is part of no key: what conftest asked of that kernel before
    (builder.store.conftest_answers), which may be empty. Raises RenderError for values that cannot stand in a spec.
    """
    nevra = require_nevra(modules_nevra(cell, matrix))
    tree = _kernel_tree(sources, cell.flavor, cell.driver)
    patches = tuple(_patch_file(patch) for patch in patches_of(cell))
    text = fill_spec(
        "nvidia-modules.spec.j2",
        nevra=nevra,
        version=cell.driver.version,
        flavor=cell.flavor.value,
        license=LICENSES[cell.flavor],
        vendor=matrix.vendor,
        payload=_MODULES_PAYLOAD,
        source=tree.filename,
        patches=tuple({"name": patch.filename, "sha256": patch.sha256} for patch in patches),
        kernel=_checked(cell.kernel),
        requirements=modules_requirements(cell.kernel),
        modules=_modules(cell.driver),
        excluded=_excluded(cell.driver),
        folder=MODULES_FOLDER,
        conftest=CONFTEST_CACHE,
        answers=CONFTEST_ANSWERS,
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tree, spec_source(CONFTEST_CACHE), *patches))


def modules_requirements(kernel: Kernel) -> tuple[str, ...]:
    """What is installed over a buildroot to compile any driver's modules for a kernel; its devel package first.

    The same with patches and without, so that it is resolved once a kernel.
    """
    devel = kernel.devel
    tools = ("make", "elfutils-libelf-devel", "kmod", "binutils", "patch")
    return (f"{devel.name} = {devel.evr}", kernel.compiler.package, *tools)


def _patch_file(patch: Patch) -> SourceFile:
    require_name(patch.name, "patch")
    return SourceFile(filename=patch.name, path=patch.path, sha256=patch.sha256, size=patch.size)


def render_kmod(
    cell: Cell, sources: DriverSources, matrix: Matrix, *, serial: int = 1, signer: str | None = None
) -> SpecFile:
    """The spec that packs a cell's compiled modules; its sources (packed modules, signatures, list) come later.

    ``signer`` is the common name of who signs the modules, None where nobody does. Raises RenderError for values that
    cannot stand in a spec.
    """
    nevra = require_nevra(kmod_nevra(cell, matrix, serial=serial))
    modules = _modules(cell.driver)
    text = fill_spec(
        "kmod-nvidia.spec.j2",
        nevra=nevra,
        version=cell.driver.version,
        flavor=cell.flavor.value,
        license=LICENSES[cell.flavor],
        vendor=matrix.vendor,
        payload=require_payload(cell.distribution.payload),
        kernel=_checked(cell.kernel),
        long_name=require_name(kmod_long_name(cell), "Provides"),
        modules=modules,
        needs=(JOIN_CAPABILITY, *(object_capability(o.sha256) for o in objects_of(cell, sources))),
        ev=driver_ev(cell.driver, matrix),
        folder=kmod_folder(cell.kernel),
        parts=kmod_parts(cell.kernel),
        signer=signer,
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=())


def objects_of(cell: Cell, sources: DriverSources) -> tuple[KernelObject, ...]:
    """The objects that a cell's modules are linked with, sorted by module."""
    return tuple(o for o in sources.kernel_objects(cell.flavor) if o.module in cell.driver.modules)


def render_objects(unit: Unit, sources: DriverSources, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of the objects of one flavor and the program that joins them; raises RenderError."""
    flavor = unit.flavor
    if flavor is None:
        raise RenderError(f"{unit.id}: the objects' package needs a flavor")
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    objects = sources.kernel_objects(flavor)
    for item in objects:
        require_name(item.filename, f"driver {unit.driver.version}: kernel object")
    text = fill_spec(
        "nvidia-kmod-objects.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        flavor=flavor.value,
        license=LICENSES[flavor],
        vendor=matrix.vendor,
        payload=unit_payload(unit),
        objects=tuple({"filename": o.filename, "capability": object_capability(o.sha256)} for o in objects),
        join=JOIN_CAPABILITY,
        folder=objects_folder(unit.driver, flavor),
        static=unit.distribution.plain,  # its rpm is linked with no libzstd
        stream_provides=stream_provides(unit, unit.kind.value, nevra.evr),
        stream_requires=stream_requires(unit, matrix),
    )
    own = tuple(spec_source(name) for name in ("nvidia-kmod-join", "nvidia-kmod-unpatch.c"))
    theirs = tuple(SourceFile(filename=o.filename, path=o.path, sha256=o.sha256, size=o.size) for o in objects)
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(*own, *theirs))


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
        payload=unit_payload(unit),
        source=tree.filename,
        capability=dkms_capability(flavor),
        requires=() if unit.distribution.plain else (f"{PackageKind.GATE.value} = {driver_ev(unit.driver, matrix)}",),
        stream_provides=stream_provides(unit, unit.kind.value, nevra.evr),
        stream_requires=stream_requires(unit, matrix),
        plain=unit.distribution.plain,
        kernels=_packages(k.core.name for k in unit.distribution.kernels if k.arch == unit.arch),
        trees=_packages(k.devel.name for k in unit.distribution.kernels if k.arch == unit.arch),
        modules=_modules(unit.driver),
        excluded=_excluded(unit.driver),
        folder=f"/usr/src/nvidia-{unit.driver.version}",
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=(tree,))


def _packages(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(require_name(name, "kernel package") for name in names))


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
