"""One cell: the chroot builder from SRPM to RPM against plain ``make modules`` in the same root."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides
from benchmarks.lab import make_settings
from benchmarks.plain_make import MakeJob, plain_make
from builder.build import ChrootBuilder, make_srpm
from builder.build.job import BuildJob
from builder.model.cells import PackageKind
from builder.model.sources import BuildRequest
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop
from builder.pipeline.settings import processors
from builder.pipeline.specs import Job, make_job
from builder.pipeline.workshop import Workshop, fetch_sources, make_buildroots
from builder.render.kmods import MAKEFILE_MODULES
from builder.tools.rpms import extract_members, read_header
from builder.tools.run import run
from tests.lab.drivers import make_real
from tests.lab.light import make_light
from tests.lab.runfile import LabDriver

_VERSION = "535.261.03"  # of the stand-in
_TIMEOUT = 4 * 3600.0  # seconds
_MEMORY = 4 << 30  # bytes: what one build may use of it; the builder goes to the disk where that is too little
_REQUIREMENT = re.compile(r"^BuildRequires:\s+(\S.*)$", re.MULTILINE)
_MODULE = re.compile(r"/(?P<name>[\w-]+)\.ko(\.\w+)?$")


def _prepare(tmp: Path, stack: ExitStack, *, drivers: Callable[[], list[LabDriver]], modules: Sequence[str]) -> Sides:
    settings = make_settings(tmp, drivers(), kernels=1, modules=modules or None)
    shop = open_workshop(settings, ignore)
    stack.enter_context(shop.store)
    job = _job(shop)
    memory = _MEMORY if _available() >= 2 * _MEMORY else 0
    srpm = make_srpm(job.spec, tmp, dist=job.unit.distribution, source_date_epoch=job.sources.source_date_epoch)
    builder = ChrootBuilder(shop.store, memory=memory)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        request = BuildRequest(
            unit_id=job.unit.id,
            srpm=srpm,
            buildroot=job.buildroot,
            resultdir=folder,
            source_date_epoch=job.sources.source_date_epoch,
            timeout=_TIMEOUT,
            jobs=processors(),
        )
        with clock.timed():
            builder.build(request)
        return _describe(_unpack(folder))

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        clock.add(_plain(job, srpm, folder, memory))
        return _describe(sorted(folder.glob("*.ko")))

    return Sides(ours=ours, peer=peer)


def _job(shop: Workshop) -> Job:
    """The one cell's job, with sources prepared and the buildroot made."""
    units = [unit for unit in shop.configuration.units if unit.kind is PackageKind.KMOD]
    if len(units) != 1:
        raise BenchmarkError(f"the matrix has {len(units)} cells, not one")
    fetch_sources(shop, (units[0],))
    make_buildroots(shop, (units[0],))
    job = make_job(shop, units[0], record=False)
    if job is None:
        failures = [*shop.facts.sources.values(), *shop.facts.buildroots.values(), *shop.facts.kernels.values()]
        raise next((f for f in failures if isinstance(f, Exception)), BenchmarkError("the cell cannot be prepared"))
    return job


def _plain(job: Job, srpm: Path, folder: Path, memory: int) -> float:
    cell = job.unit.cell
    root = job.buildroot.path
    assert cell is not None
    assert root is not None
    work = folder / "work"
    work.mkdir()
    make = MakeJob(
        requirements=tuple(_REQUIREMENT.findall(job.spec.text)),
        tree=str(job.sources.kernel_tree(cell.flavor).path),
        devel=cell.kernel.devel_path,
        release=cell.kernel.release,
        compiler=cell.kernel.compiler.command,
        modules=cell.driver.modules,
        excluded=tuple(m for m in MAKEFILE_MODULES if m not in cell.driver.modules),
    )
    inner = BuildJob(
        subject=job.unit.id,
        chroot=job.buildroot.chroot,
        base=root.parent,
        srpm=srpm,
        resultdir=folder,
        work=work,
        tmpfs_size=memory,
        source_date_epoch=job.sources.source_date_epoch,
        timeout=_TIMEOUT,
        jobs=processors(),
    )
    return plain_make(inner, make, folder)


def _available() -> int:
    meminfo = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def _unpack(folder: Path) -> list[Path]:
    """The modules of the binary RPM in a resultdir, as files."""
    rpms = [path for path in folder.glob("*.rpm") if not path.name.endswith(".src.rpm")]
    members = [file for rpm in rpms for file in read_header(rpm).files if _MODULE.search(file)]
    found = [(name, content) for rpm in rpms for name, content in extract_members(rpm, members).items()]
    place = folder / "modules"
    place.mkdir()
    for name, content in found:
        (place / Path(name).name).write_bytes(content)
    return sorted(place.iterdir())


def _describe(modules: Sequence[Path]) -> list[str]:
    """Name, version, vermagic and dependencies of each module: what two builds of one tree must have in common."""
    fields = ("version", "vermagic", "depends", "license")
    told = {p: [run(["modinfo", "-F", f, p], timeout=60).stdout.strip() for f in fields] for p in modules}
    return [" | ".join([p.name.partition(".")[0], *values]) for p, values in told.items()]


_NOTE = (
    "repobuild's time is all of a build: overlay, dnf installing kernel-devel and compiler, unpacking, make, strip, "
    "xz, rpmbuild's packaging; not making the SRPM. The peer's time is make alone: its overlay, its packages and its "
    "unpacked tree are there before, and nothing is stripped, compressed or packaged."
)
LIGHT = Benchmark(
    name="cell-light",
    work="light driver, five modules, one kernel: SRPM to RPM, base of the buildroot ready",
    peer="make modules",
    note=_NOTE,
    prepare=partial(_prepare, drivers=lambda: make_light((_VERSION,)), modules=()),
)


def real_cell(modules: Sequence[str]) -> Benchmark:
    """The cell of a real driver, all five modules or those named."""
    return Benchmark(
        name="cell-real",
        work=f"NVIDIA 535 open, {', '.join(modules) or 'all five modules'}, one kernel: SRPM to RPM, base ready",
        peer="make modules",
        note=_NOTE,
        prepare=partial(_prepare, drivers=lambda: make_real(("535",)), modules=tuple(modules)),
        runs=1,
    )
