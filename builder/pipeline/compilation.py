"""Compiling the modules of one cell: the same on this machine and on a worker, and the same bytes."""

from __future__ import annotations

import shutil
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from builder.build import Builder, make_srpm
from builder.errors import BuildError, RepobuildError, StoreError
from builder.model.matrix import Distribution
from builder.model.modules import BuiltModules
from builder.model.naming import CONFTEST_ANSWERS
from builder.model.sources import BuildRequest, Buildroot, KernelObject, SpecFile
from builder.pack import pack_modules, read_compiled, write_modules
from builder.render import MODULES_FOLDER
from builder.store import Store, answers_source, merge_answers


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpmbuild:
    """What a package is built in and for, whatever its spec."""

    unit_id: str
    distribution: Distribution
    arch: str  # rpmbuild's --target
    buildroot: Buildroot
    source_date_epoch: int  # seconds
    timeout: float  # seconds
    jobs: int  # make -j, unless the pool knows better


@dataclass(frozen=True, slots=True, kw_only=True)
class Compilation:
    """The modules of one cell to be compiled, unsigned; nothing here says who will sign them."""

    key: str  # of the modules in a store
    scope: str  # Unit.scope
    spec: SpecFile
    build: Rpmbuild
    modules: tuple[str, ...]
    objects: tuple[KernelObject, ...]  # what modules are packed against
    devel_sha256: str  # of the kernel's devel package


def build_spec(store: Store, builder: Builder, spec: SpecFile, build: Rpmbuild, tmp: Path) -> tuple[Path, float]:
    """Build a spec below ``tmp``; returns the resultdir and the builder's seconds.

    Raises what the builder raises; the logs of a failed attempt are kept under logs/<unit>/.
    """
    logs = store.logs(build.unit_id)
    resultdir = tmp / "result"
    resultdir.mkdir()
    request = BuildRequest(
        unit_id=build.unit_id,
        srpm=make_srpm(spec, tmp, dist=build.distribution, source_date_epoch=build.source_date_epoch),
        buildroot=build.buildroot,
        resultdir=resultdir,
        arch=build.arch,
        source_date_epoch=build.source_date_epoch,
        timeout=build.timeout,
        jobs=build.jobs,
    )
    started = time.monotonic()
    try:
        builder.build(request)
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


def compile_into(folder: Path, store: Store, builder: Builder, what: Compilation) -> BuiltModules:
    """Compile the modules of a cell and fill ``folder`` with them, packed and described.

    Raises BuildError and its kind.
    """
    with store.tmp() as tmp:
        known = answers_source(store, what.devel_sha256, tmp)
        spec = replace(what.spec, sources=(*what.spec.sources, known))
        resultdir, seconds = build_spec(store, builder, spec, what.build, tmp)
        rpms = [rpm for rpm in resultdir.glob("*.rpm") if not rpm.name.endswith(".src.rpm")]
        if len(rpms) != 1:
            raise BuildError(f"{what.build.unit_id}: the compilation left {len(rpms)} packages, one is expected")
        images = read_compiled(rpms[0], MODULES_FOLDER, what.modules, (CONFTEST_ANSWERS,))
        answers = images.pop(CONFTEST_ANSWERS, b"")
        packed = pack_modules(images, what.objects, folder, what.build.jobs)
        for log in resultdir.glob("*.log"):
            log.rename(folder / log.name)
        with suppress(StoreError):  # what was asked of this kernel, for the next driver; a build is as good without
            merge_answers(store, what.devel_sha256, answers)
    built = BuiltModules(key=what.key, unit_id=what.scope, folder=folder, modules=packed, seconds=round(seconds, 1))
    write_modules(built, folder)
    return built
