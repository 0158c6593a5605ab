"""Compile a cell's modules once, and make of them what a kmod package carries, for any signer."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath

from builder.build import make_srpm
from builder.errors import BuildError, RepobuildError, SignError, StoreError
from builder.model.cells import Unit
from builder.model.modules import BuiltModules
from builder.model.naming import CONFTEST_ANSWERS, objects_folder, package_arch
from builder.model.sources import BuildRequest, Buildroot, DriverSources, KernelDevel, SourceFile, SpecFile
from builder.pack import pack_modules, read_modules, write_modules, write_parts
from builder.pipeline.specs import Job
from builder.pipeline.workshop import Workshop
from builder.render import MODULES_FOLDER, objects_of
from builder.store import answers_source, merge_answers
from builder.tools.rpms import extract_members


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
    cell, modules, devel = job.unit.cell, job.modules, job.devel
    assert cell is not None  # noqa: S101  only kmods have modules
    assert devel is not None  # noqa: S101
    assert modules is not None  # noqa: S101

    def fill(folder: Path) -> None:
        with shop.store.tmp() as tmp:
            known = answers_source(shop.store, devel.sha256, tmp)
            spec = replace(modules.spec, sources=(*modules.spec.sources, known))
            resultdir, seconds = rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, tmp)
            rpms = [rpm for rpm in resultdir.glob("*.rpm") if not rpm.name.endswith(".src.rpm")]
            if len(rpms) != 1:
                raise BuildError(f"{job.unit.id}: the compilation left {len(rpms)} packages, one is expected")
            objects = objects_of(cell, job.sources)
            jobs = shop.settings.make_jobs
            packed = pack_modules(rpms[0], MODULES_FOLDER, cell.driver.modules, objects, folder, jobs)
            for log in resultdir.glob("*.log"):
                log.rename(folder / log.name)
            _remember_answers(shop, devel, rpms[0])
        built = BuiltModules(
            key=modules.key, unit_id=job.unit.scope, folder=folder, modules=packed, seconds=round(seconds, 1)
        )
        write_modules(built, folder)

    return read_modules(shop.store.put_folder("modules", modules.key, fill))


def _remember_answers(shop: Workshop, devel: KernelDevel, rpm: Path) -> None:
    """Keep what conftest asked of this kernel for the next driver; a build is as good without."""
    member = f"{MODULES_FOLDER}/{CONFTEST_ANSWERS}"
    answers = extract_members(rpm, (member,)).get(member, b"")
    with suppress(StoreError):
        merge_answers(shop.store, devel.sha256, answers)


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
    """Build a spec below ``tmp``; returns the resultdir and the builder's seconds.

    Raises what the builder raises; the logs of a failed attempt are kept under logs/<unit>/.
    """
    logs = shop.store.logs(unit.id)
    resultdir = tmp / "result"
    resultdir.mkdir()
    epoch = sources.source_date_epoch
    request = BuildRequest(
        unit_id=unit.id,
        srpm=make_srpm(spec, tmp, dist=unit.distribution, source_date_epoch=epoch),
        buildroot=buildroot,
        resultdir=resultdir,
        arch=package_arch(unit),
        source_date_epoch=epoch,
        timeout=shop.settings.build_timeout,
        jobs=shop.settings.make_jobs,
    )
    started = time.monotonic()
    try:
        shop.builder.build(request)
    except RepobuildError as exc:
        _keep_logs(resultdir, logs)
        if exc.log is not None:
            exc.log = logs / exc.log.name
        raise
    return resultdir, time.monotonic() - started


def _keep_logs(resultdir: Path, logs: Path) -> None:
    shutil.rmtree(logs, ignore_errors=True)
    logs.mkdir(parents=True)
    for log in resultdir.glob("*.log"):
        shutil.copy2(log, logs / log.name)


def object_files(job: Job) -> Mapping[str, Path]:
    """The objects of a job's driver by sha256, as qualification joins modules with them."""
    return {o.sha256: o.path for _, objects in job.sources.objects for o in objects}


def firmware_files(job: Job) -> frozenset[str]:
    """The firmware that a job's driver ships, as its modules name it."""
    version = job.unit.driver.version
    shipped = (entry.path for entry in job.sources.manifest if entry.type == "FIRMWARE")
    return frozenset(f"nvidia/{version}/{PurePosixPath(path).name}" for path in shipped)
