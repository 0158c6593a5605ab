"""Compile a cell's modules once, and make of them what a kmod package carries, for any signer."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from builder.errors import BuildError, SignError
from builder.model.cells import Unit
from builder.model.modules import BuiltModules
from builder.model.naming import objects_folder, package_arch
from builder.model.sources import Buildroot, DriverSources, SourceFile, SpecFile
from builder.pack import read_modules, write_parts
from builder.pipeline.compilation import Compilation, Rpmbuild, build_spec, compile_into
from builder.pipeline.kernels import read_root
from builder.pipeline.specs import Job
from builder.pipeline.workshop import Workshop
from builder.render import objects_of
from builder.store import write_root_lock


def find_modules(shop: Workshop, job: Job) -> BuiltModules | None:
    """The modules of a job as they were compiled before, None when they were not."""
    folder = shop.store.folder("modules", job.modules.key) if job.modules else None
    return None if folder is None else read_modules(folder)


def compile_modules(shop: Workshop, job: Job) -> BuiltModules:
    """Compile the modules of a job and keep them packed; what was compiled before from the same is taken.

    Raises BuildError and its kind; the logs of a failed attempt are kept under logs/<unit>/.
    """
    found = find_modules(shop, job)
    if found is not None:
        return found
    if not shop.settings.compile:
        raise BuildError(
            f"{job.unit.id}: its modules were not compiled before, and this run compiles nothing",
            hint="repobuild matrix compiles what is missing",
        )
    what = _compilation(shop, job)
    farm, store = shop.farm, shop.store

    def fill(folder: Path) -> None:
        if farm is None:
            compile_into(folder, store, shop.builder, what)
        else:
            farm.compile_into(folder, what)
        write_root_lock(folder, job.buildroot.chroot, read_root(job.devel) if job.devel else ())

    return read_modules(store.put_folder("modules", what.key, fill))


def _compilation(shop: Workshop, job: Job) -> Compilation:
    cell, modules, devel = job.unit.cell, job.modules, job.devel
    assert cell is not None  # noqa: S101  only kmods have modules
    assert devel is not None  # noqa: S101
    assert modules is not None  # noqa: S101
    return Compilation(
        key=modules.key,
        scope=job.unit.scope,
        spec=modules.spec,
        build=_rpmbuild(shop, job.unit, job.buildroot, job.sources),
        modules=cell.driver.modules,
        objects=objects_of(cell, job.sources),
        devel_sha256=devel.sha256,
    )


def packed_sources(shop: Workshop, job: Job, built: BuiltModules, target: Path) -> tuple[SourceFile, ...]:
    """Write into ``target`` what a job's kmod package is packed from, signed by the run's signer.

    Raises SignError when the key cannot be used, or the kernel could not verify its signatures.
    """
    cell, devel = job.unit.cell, job.devel
    assert cell is not None  # noqa: S101  only kmods have modules
    assert devel is not None  # noqa: S101
    fault = shop.signing.fault(devel)
    if fault is not None:
        raise SignError(f"{job.unit.id}: {fault}", hint="sign the modules of this kernel with an RSA key")
    signer = shop.signing.signer()
    place = objects_folder(cell.driver, cell.flavor)
    return write_parts(built, objects_of(cell, job.sources), place, signer.sign if signer else None, target)


def rpmbuild(
    shop: Workshop, unit: Unit, spec: SpecFile, buildroot: Buildroot, sources: DriverSources, tmp: Path
) -> tuple[Path, float]:
    """Build a spec of a unit on this machine, see ``build_spec``."""
    return build_spec(shop.store, shop.builder, spec, _rpmbuild(shop, unit, buildroot, sources), tmp)


def _rpmbuild(shop: Workshop, unit: Unit, buildroot: Buildroot, sources: DriverSources) -> Rpmbuild:
    return Rpmbuild(
        unit_id=unit.id,
        distribution=unit.distribution,
        arch=package_arch(unit),
        buildroot=buildroot,
        source_date_epoch=sources.source_date_epoch,
        timeout=shop.settings.build_timeout,
        jobs=shop.settings.make_jobs,
    )


def object_files(job: Job) -> Mapping[str, Path]:
    """The objects of a job's driver by sha256, as qualification joins modules with them."""
    return {o.sha256: o.path for _, objects in job.sources.objects for o in objects}


def firmware_files(job: Job) -> frozenset[str]:
    """The firmware that a job's driver ships, as its modules name it."""
    version = job.unit.driver.version
    shipped = (entry.path for entry in job.sources.manifest if entry.type == "FIRMWARE")
    return frozenset(f"nvidia/{version}/{PurePosixPath(path).name}" for path in shipped)
