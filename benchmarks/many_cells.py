"""Many light cells through ``repobuild build``, against a loop over the same trees and kernels.

The loop is one of ``dkms build``, or of ``mock --rebuild`` of the SRPMs that the cells are compiled from.
"""

from __future__ import annotations

import json
import pwd
import shutil
import sys
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.cell import describe
from benchmarks.dkms_build import DkmsHost, built_modules, dkms_build, make_dkms_hosts, unpack_tree
from benchmarks.harness import Benchmark, BenchmarkError, Clock, Side, Sides, Target
from benchmarks.lab import lab, make_settings
from builder.build import make_srpm
from builder.model.cells import PackageKind
from builder.pack import read_modules, unpack_modules
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job, make_job
from builder.pipeline.workshop import Workshop, fetch_sources, make_buildroots
from builder.render import MODULES_FOLDER, objects_of, render_mock_config
from builder.store import Store, remove_tree, write_answers
from builder.tools.rpms import extract_members
from builder.tools.run import run, which
from tests.lab.light import make_light
from tests.lab.matrix import MOCK_TEMPLATE
from tests.lab.runfile import LabDriver

# Six drivers, as in the lab matrix (docs/lab-matrix), each with an open kernel tree and for each of these kernels.
KERNELS = 3
VERSIONS = ("535.261.03", "535.274.02", "550.144.03", "550.163.01", "570.195.03", "570.211.01")
CELLS = KERNELS * len(VERSIONS)
_MAIN = "from builder.cli import main; main()"
_MADE = ("store/modules", "store/conftest")  # by a build: gone before each; roots and sources stay


def _prepare(tmp: Path, stack: ExitStack, *, mock: bool) -> Sides:
    drivers = make_light(VERSIONS)
    settings = make_settings(tmp, drivers, kernels=KERNELS)
    _program(settings, "fetch")
    cells = _build(settings)
    results = _results(settings)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        _forget(settings, cells)
        with clock.timed():
            _build(settings)
        if _results(settings) != results:
            raise BenchmarkError(f"{_results(settings)} results instead of {results}")
        return _compiled(settings, folder)

    place = tmp / "peer"
    place.mkdir()
    return Sides(ours=ours, peer=_mock_side(settings, stack) if mock else _dkms_side(settings, drivers, place))


def _dkms_side(settings: Settings, drivers: Sequence[LabDriver], place: Path) -> Side:
    trees = {}
    for driver in drivers:
        (place / driver.version).mkdir()
        trees[driver.version] = unpack_tree(driver, place / driver.version)
    hosts = make_dkms_hosts(place, lab(), lab().kernels[:KERNELS], trees, _modules_of(settings))

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        made: list[str] = []
        for host in hosts:
            with clock.timed():
                dkms_build(host)
            made += _of_dkms(host, folder)
        return made

    return peer


def _mock_side(settings: Settings, stack: ExitStack) -> Side:
    """mock as its users set it up: a cached root, kept up to date from the same repositories, a result folder each."""
    # Its unprivileged side must reach it, wherever the rest of the benchmark lies.
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="repobuild-mock-", dir="/var/tmp")))
    place.chmod(0o777)
    shop = open_workshop(settings, ignore)
    srpms: dict[str, Path] = {}
    places = _own_places(place)
    with shop.store:  # until here: repobuild's side opens it, too
        for job in _jobs(shop):
            assert job.modules is not None
            (place / str(len(srpms))).mkdir()
            spec = replace(job.modules.spec, sources=(*job.modules.spec.sources, write_answers(place, b"")))
            epoch = job.sources.source_date_epoch
            srpm = make_srpm(spec, place / str(len(srpms)), dist=job.unit.distribution, source_date_epoch=epoch)
            srpms[job.unit.id.replace("/", "_")] = srpm
            chroot = replace(job.buildroot.chroot, template=MOCK_TEMPLATE.name, template_text=MOCK_TEMPLATE.read_text())
            configuration = place / "lab9.cfg"
            configuration.write_text(render_mock_config(chroot, job.unit.distribution) + places)
    mock = ("mock", "-r", configuration, "--isolation=simple")
    user = pwd.getpwnam("nobody")  # whom mock, called by root, becomes for all that needs no privilege
    who = {"SUDO_UID": str(user.pw_uid), "SUDO_GID": str(user.pw_gid), "HOME": str(place)}
    run([*mock, "--init"], timeout=3600, env=who)
    stack.callback(run, [*mock, "--scrub=all"], timeout=3600, env=who)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        said: list[str] = []
        for name, srpm in srpms.items():
            result = Path(tempfile.mkdtemp(dir=place))
            result.chmod(0o777)
            with clock.timed():
                run([*mock, "--resultdir", result, "--rebuild", srpm], timeout=3600, env=who)
            (rpm,) = (path for path in result.glob("*.rpm") if not path.name.endswith(".src.rpm"))
            names = [f"{MODULES_FOLDER}/{module}.ko" for module in _modules_of(settings)]
            images = folder / name
            images.mkdir()
            for member, data in extract_members(rpm, names).items():
                (images / Path(member).name).write_bytes(data)
            said += describe(sorted(images.iterdir()))
        return said

    return peer


def _own_places(place: Path) -> str:
    """A root that no other mock of this machine waits for, from no image."""
    lines = [f"config_opts['root'] = 'benchmark-{place.name}'", "config_opts['use_bootstrap'] = False"]
    for option, name in (("basedir", "lib"), ("cache_topdir", "cache")):
        (place / name).mkdir()
        (place / name).chmod(0o777)
        lines.append(f"config_opts[{option!r}] = {str(place / name)!r}")
    return "\n" + "\n".join(lines) + "\n"


def _build(settings: Settings) -> set[str]:
    """All cells, and the packages around drivers where they are not there yet; returns the keys of the cells."""
    built = json.loads(_program(settings, "build", "--json", "--select", "*-open*@*"))["units"]
    cells = {str(unit["key"]) for unit in built if unit["kind"] == PackageKind.KMOD.value}
    if len(cells) != CELLS:
        raise BenchmarkError(f"{len(cells)} cells were built, not {CELLS}")
    return cells


def _program(settings: Settings, verb: str, *more: str) -> str:
    # Named, because "auto" is mock where that is installed, and both sides would be mock's then.
    builder = ["--builder", settings.builder]
    words = [verb, "--config", str(settings.config), "--work", str(settings.work), *builder, *more]
    return run([sys.executable, "-c", _MAIN, *words], timeout=3600).stdout


def _results(settings: Settings) -> int:
    return len(list((settings.work / "store/results").iterdir()))


def _forget(settings: Settings, cells: Collection[str]) -> None:
    """As if no cell was ever compiled; packages around drivers are kept, which are made once for all kernels."""
    with Store.open(settings.work) as store:
        for key in cells:
            store.remove_folder("results", key)
        store.ledger.forget(cells, (), ())
    for name in _MADE:
        for path in (settings.work / name).iterdir():
            remove_tree(path)


def _modules_of(settings: Settings) -> tuple[str, ...]:
    with ExitStack() as stack:
        shop = open_workshop(settings, ignore)
        stack.enter_context(shop.store)
        return next(unit.cell.driver.modules for unit in shop.configuration.units if unit.cell is not None)


def _jobs(shop: Workshop) -> list[Job]:
    cells = tuple(unit for unit in shop.configuration.units if unit.kind is PackageKind.KMOD)
    fetch_sources(shop, cells)
    make_buildroots(shop, cells)
    jobs = [job for unit in cells if (job := make_job(shop, unit, record=False)) is not None]
    if len(jobs) != CELLS:
        raise BenchmarkError(f"{len(jobs)} cells can be built, not {CELLS}")
    return jobs


def _compiled(settings: Settings, folder: Path) -> list[str]:
    """What was compiled for each cell, unpacked again."""
    said = []
    with ExitStack() as stack:
        shop = open_workshop(settings, ignore)
        stack.enter_context(shop.store)
        for job in _jobs(shop):
            unit = job.unit
            assert job.modules is not None
            assert unit.cell is not None
            at = shop.store.folder("modules", job.modules.key)
            if at is None:
                raise BenchmarkError(f"{unit.id} has no modules")
            images = folder / unit.id.replace("/", "_")
            images.mkdir()
            objects = objects_of(unit.cell, job.sources)
            for module in read_modules(at).modules:
                against = next((o.path for o in objects if o.sha256 == module.object_sha256), None)
                (image,) = unpack_modules([module.path], against, folder)
                (images / f"{module.name}.ko").write_bytes(image)
            said += describe(sorted(images.iterdir()))
    return said


def _of_dkms(host: DkmsHost, folder: Path) -> list[str]:
    images = folder / f"{host.version}@{host.release}"
    images.mkdir()
    for path in built_modules(host):
        shutil.copyfile(path, images / path.name)
    return describe(sorted(images.iterdir()))


_OURS = (
    "repobuild's time is a whole `repobuild build`: compiling, packing, kmod packages, checks, with no cell and no "
    "answer of conftest known; sources are fetched, packages around drivers built, base root and installed "
    "kernel-devel there"
)
_MANY = Benchmark(
    name="cells-many-dkms",
    work=f"{CELLS} light cells: {KERNELS} kernels × {len(VERSIONS)} drivers",
    peer="dkms build in a loop",
    note=f"{_OURS}, as on the peer's host. The peer's time is one `dkms build` after another.",
    prepare=partial(_prepare, mock=False),
    runs=3,
    target=Target(ratio=1 / 1.5),
)
_MANY_MOCK = replace(
    _MANY,
    name="cells-many-mock",
    peer="mock --rebuild in a loop",
    note=f"{_OURS}. The peer has a cached root, installs each cell's requirements from local repositories and only "
    "compiles. Where mock is installed.",
    prepare=partial(_prepare, mock=True),
    runs=1,
    target=Target(ratio=1 / 3),
)
MANY_CELLS = (_MANY, _MANY_MOCK) if which("mock") else (_MANY,)
