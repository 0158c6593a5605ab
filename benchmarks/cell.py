"""One cell: what the main job does for it, compiling and packing, against its peers in one run.

Peers are plain ``make modules`` in the same root and ``dkms build`` in a client root, of the same tree. A further cell
of a kernel finds what an earlier one of that kernel asked in conftest, as in production.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import cache, partial
from pathlib import Path

from benchmarks.dkms_build import built_modules, dkms_build, make_dkms_host, unpack_tree
from benchmarks.harness import Benchmark, BenchmarkError, Clock, Side, Sides
from benchmarks.lab import lab, make_settings
from benchmarks.plain_make import MakeJob, plain_make
from builder.build import make_srpm
from builder.build.job import BuildJob
from builder.model.cells import PackageKind
from builder.model.modules import BuiltModules
from builder.model.naming import CONFTEST_ANSWERS
from builder.pack import pack_modules, read_compiled, unpack_modules
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop
from builder.pipeline.modules import packed_sources, rpmbuild
from builder.pipeline.specs import Job, make_job
from builder.pipeline.workshop import Workshop, fetch_sources, make_buildroots
from builder.render import MODULES_FOLDER, objects_of
from builder.render.kmods import MAKEFILE_MODULES
from builder.store import write_answers
from builder.tools.machine import processors
from builder.tools.rpms import extract_members
from builder.tools.run import run
from tests.lab.drivers import make_real
from tests.lab.light import make_light
from tests.lab.runfile import LabDriver

_VERSION = "535.261.03"  # of the stand-in
_TIMEOUT = 4 * 3600.0  # seconds
_MEMORY_FROM = 6 << 30  # bytes of available memory: below, the builder works on the disk, and so does its peer
_REQUIREMENT = re.compile(r"^BuildRequires:\s+(\S.*)$", re.MULTILINE)
_FIRST = ("535", "open")  # the cell whose answers the further ones of its kernel find


@dataclass(frozen=True, slots=True, kw_only=True)
class Which:
    """A cell: branch, flavor, modules (all when empty), of the stand-in or of the real driver."""

    branch: str
    flavor: str
    modules: tuple[str, ...] = ()
    real: bool = False

    def driver(self) -> LabDriver:
        """The driver, from its cache where it is there."""
        (driver,) = make_real((self.branch,)) if self.real else make_light((_VERSION,))
        return driver


def _prepare(tmp: Path, stack: ExitStack, *, which: Which, further: bool, dkms: bool) -> Sides:
    answers = _remembered(which.modules) if further else b""
    shop, job = _site(tmp, stack, which)
    if further:
        _install_requirements(shop, job, tmp / "installed")
    peer = _dkms_side(tmp, which, job) if dkms else _make_side(job)
    return Sides(ours=_cell_side(shop, job, answers), peer=peer)


def _site(tmp: Path, stack: ExitStack, which: Which) -> tuple[Workshop, Job]:
    """The one cell's job, with sources prepared and the buildroot made."""
    settings = make_settings(
        tmp, [which.driver()], kernels=1, flavor=which.flavor, modules=which.modules or None, jobs=1
    )
    shop = open_workshop(settings, ignore)
    stack.enter_context(shop.store)
    return shop, _job(shop)


@cache
def _remembered(modules: tuple[str, ...]) -> bytes:
    """What the first real cell of the kernel leaves for the next; made once, not timed."""
    with tempfile.TemporaryDirectory(prefix="repobuild-bench-") as tmp, ExitStack() as stack:
        shop, job = _site(Path(tmp), stack, Which(branch=_FIRST[0], flavor=_FIRST[1], modules=modules, real=True))
        rpm = _compile(shop, job, b"", Path(tmp) / "first")
        member = f"{MODULES_FOLDER}/{CONFTEST_ANSWERS}"
        return extract_members(rpm, (member,))[member]


def _install_requirements(shop: Workshop, job: Job, folder: Path) -> None:
    """As an earlier cell of the kernel over the same base root leaves them."""
    assert job.modules is not None
    folder.mkdir()
    asked = "".join(f"BuildRequires: {word}\n" for word in _REQUIREMENT.findall(job.modules.spec.text))
    head = "Name: nothing\nVersion: 1\nRelease: 1\nSummary: Nothing\nLicense: MIT\n"
    spec = replace(job.modules.spec, text=f"{head}{asked}%description\nNothing.\n%files\n", sources=())
    rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, folder)


def _compile(shop: Workshop, job: Job, answers: bytes, folder: Path) -> Path:
    """Compile a job's modules as the main job does; returns the RPM that holds them."""
    assert job.modules is not None
    folder.mkdir()
    spec = replace(job.modules.spec, sources=(*job.modules.spec.sources, write_answers(folder, answers)))
    resultdir, _ = rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, folder)
    (rpm,) = (path for path in resultdir.glob("*.rpm") if not path.name.endswith(".src.rpm"))
    return rpm


def _cell_side(shop: Workshop, job: Job, answers: bytes) -> Side:
    cell, key = job.unit.cell, job.modules.key if job.modules else ""
    assert cell is not None
    objects = objects_of(cell, job.sources)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        for name in ("packed", "parts", "pack", "modules"):
            (folder / name).mkdir()
        with clock.timed():
            rpm = _compile(shop, job, answers, folder / "compile")
            jobs = shop.settings.make_jobs
            packed = pack_modules(
                read_compiled(rpm, MODULES_FOLDER, cell.driver.modules), objects, folder / "packed", jobs
            )
            built = BuiltModules(key=key, unit_id=job.unit.scope, folder=folder / "packed", modules=packed, seconds=0.0)
            spec = replace(job.spec, sources=packed_sources(shop, job, built, folder / "parts"))
            rpmbuild(shop, job.unit, spec, job.buildroot, job.sources, folder / "pack")
        for module in packed:
            against = next((o.path for o in objects if o.sha256 == module.object_sha256), None)
            (image,) = unpack_modules([module.path], against, folder)
            (folder / f"modules/{module.name}.ko").write_bytes(image)
        return describe(sorted((folder / "modules").iterdir()))

    return ours


def _make_side(job: Job) -> Side:
    memory = _available() // 2 if _available() >= _MEMORY_FROM else 0

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        clock.add(_plain(job, folder, memory))
        return describe(sorted(folder.glob("*.ko")))

    return peer


def _dkms_side(tmp: Path, which: Which, job: Job) -> Side:
    cell = job.unit.cell
    assert cell is not None
    place = tmp / "dkms"
    place.mkdir()
    driver = which.driver()
    tree = unpack_tree(driver, place, which.flavor)
    (kernel,) = [k for k in lab().kernels if k.release == cell.kernel.release]
    host = make_dkms_host(place, lab(), kernel, tree, driver.version, cell.driver.modules)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        clock.add(dkms_build(host))
        for path in built_modules(host):
            shutil.copyfile(path, folder / path.name)
        return describe(sorted(folder.glob("*.ko*")))

    return peer


def _job(shop: Workshop) -> Job:
    units = [unit for unit in shop.configuration.units if unit.kind is PackageKind.KMOD]
    if len(units) != 1:
        raise BenchmarkError(f"the matrix has {len(units)} cells, not one")
    fetch_sources(shop, (units[0],))
    make_buildroots(shop, (units[0],))
    job = make_job(shop, units[0], record=False)
    if job is None or job.modules is None:
        failures = [*shop.facts.sources.values(), *shop.facts.buildroots.values(), *shop.facts.kernels.values()]
        raise next((f for f in failures if isinstance(f, Exception)), BenchmarkError("the cell cannot be prepared"))
    return job


def _plain(job: Job, folder: Path, memory: int) -> float:
    cell = job.unit.cell
    root = job.buildroot.path
    assert cell is not None
    assert root is not None
    assert job.modules is not None
    spec = replace(job.modules.spec, sources=(*job.modules.spec.sources, write_answers(folder, b"")))
    epoch = job.sources.source_date_epoch
    srpm = make_srpm(spec, folder, dist=job.unit.distribution, source_date_epoch=epoch)
    work = folder / "work"
    work.mkdir()
    make = MakeJob(
        requirements=tuple(_REQUIREMENT.findall(spec.text)),
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
        arch=job.buildroot.chroot.arch,
        resultdir=folder,
        work=work,
        tmpfs_size=memory,
        source_date_epoch=job.sources.source_date_epoch,
        timeout=_TIMEOUT,
        jobs=processors(),
        network=False,
    )
    return plain_make(inner, make, folder)


def _available() -> int:
    meminfo = Path("/proc/meminfo").read_text()
    found = re.search(r"^MemAvailable:\s+(\d+) kB$", meminfo, re.MULTILINE)
    return int(found[1]) << 10 if found else 0


def describe(modules: Sequence[Path]) -> list[str]:
    """Name, version, vermagic and dependencies of each module: what two builds of one tree must have in common."""
    fields = ("version", "vermagic", "depends", "license")
    told = {p: [run(["modinfo", "-F", f, p], timeout=60).stdout.strip() for f in fields] for p in modules}
    return [" | ".join([p.name.partition(".")[0], *values]) for p, values in told.items()]


_OURS = (
    "repobuild's time is all that the main job does for a cell: compiling (SRPM, overlay, dnf installing kernel-devel "
    "and compiler where no earlier cell of the kernel did, conftest, make, strip, rpmbuild), packing against NVIDIA's "
    "objects and unpacking again, and the build of the kmod package. "
)
_MAKE = _OURS + (
    "The peer's time is make alone: its overlay, its packages and its unpacked tree are there before, and nothing is "
    "stripped, compressed or packaged."
)
_DKMS = _OURS + (
    "The peer's time is dkms build on an installed host with compiler and kernel-devel: tree copy, make, strip, "
    "signing with the machine's own key. Each host of dkms does it for each kernel."
)


def _benchmark(name: str, work: str, which: Which, *, further: bool = False, dkms: bool = False) -> Benchmark:
    modules = ", ".join(which.modules) or "five modules"
    return Benchmark(
        name=name,
        work=f"{work}, {modules}: sources to kmod RPM, base of the buildroot ready",
        peer="dkms build" if dkms else "make modules",
        note=_DKMS if dkms else _MAKE,
        prepare=partial(_prepare, which=which, further=further, dkms=dkms),
        runs=1 if which.real else None,
    )


_STAND_IN = Which(branch="535", flavor="open")
LIGHT = _benchmark("cell-light", "light driver, one kernel", _STAND_IN)
LIGHT_DKMS = _benchmark("dkms-light", "light driver, one kernel", _STAND_IN, dkms=True)


def real_cells(modules: Sequence[str]) -> tuple[Benchmark, ...]:
    """Cells of real drivers, all five modules or those named: first, against dkms, further flavor, further branch."""

    def which(branch: str, flavor: str) -> Which:
        return Which(branch=branch, flavor=flavor, modules=tuple(modules), real=True)

    first = which(*_FIRST)
    return (
        _benchmark("cell-real", "NVIDIA 535 open, a kernel's first cell", first),
        _benchmark("dkms-real", "NVIDIA 535 open, a kernel's first cell", first, dkms=True),
        _benchmark("cell-real-flavor", "NVIDIA 535 proprietary after open", which("535", "proprietary"), further=True),
        _benchmark("cell-real-branch", "NVIDIA 550 open after 535 open", which("550", "open"), further=True),
    )
