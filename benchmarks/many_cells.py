"""Many light cells through ``repobuild build``, against a loop of ``dkms build`` over the same trees and kernels."""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from benchmarks.cell import describe
from benchmarks.dkms_build import DkmsHost, built_modules, dkms_build, make_dkms_hosts, unpack_tree
from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from benchmarks.lab import lab, make_settings
from builder.model.cells import PackageKind
from builder.pack import read_modules, unpack_module
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop
from builder.pipeline.settings import Settings
from builder.pipeline.specs import make_job
from builder.pipeline.workshop import fetch_sources, make_buildroots
from builder.render import objects_of
from builder.store import Store, remove_tree
from builder.tools.run import run
from tests.lab.light import make_light

KERNELS = 3
VERSIONS = ("535.261.03", "550.163.01", "570.211.01")
CELLS = KERNELS * len(VERSIONS)
_MAIN = "from builder.cli import main; main()"
_MADE = ("store/modules", "store/conftest")  # by a build: gone before each; roots and sources stay


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    drivers = make_light(VERSIONS)
    settings = make_settings(tmp, drivers, kernels=KERNELS)
    _program(settings, "fetch")
    cells = _build(settings)
    results = _results(settings)
    trees = {}
    for driver in drivers:
        (tmp / driver.version).mkdir()
        trees[driver.version] = unpack_tree(driver, tmp / driver.version)
    place = tmp / "dkms"
    place.mkdir()
    modules = _modules_of(settings)
    hosts = make_dkms_hosts(place, lab(), lab().kernels[:KERNELS], trees, modules)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        _forget(settings, cells)
        with clock.timed():
            _build(settings)
        if _results(settings) != results:
            raise BenchmarkError(f"{_results(settings)} results instead of {results}")
        return _compiled(settings, folder)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        made: list[str] = []
        for host in hosts:
            with clock.timed():
                dkms_build(host)
            made += _of_dkms(host, folder)
        return made

    return Sides(ours=ours, peer=peer)


def _build(settings: Settings) -> set[str]:
    """All cells, and the packages around drivers where they are not there yet; returns the keys of the cells."""
    built = json.loads(_program(settings, "build", "--json", "--select", "*-open@*"))["units"]
    cells = {str(unit["key"]) for unit in built if unit["kind"] == PackageKind.KMOD.value}
    if len(cells) != CELLS:
        raise BenchmarkError(f"{len(cells)} cells were built, not {CELLS}")
    return cells


def _program(settings: Settings, verb: str, *more: str) -> str:
    words = [verb, "--config", str(settings.config), "--work", str(settings.work), *more]
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


def _compiled(settings: Settings, folder: Path) -> list[str]:
    """What was compiled for each cell, unpacked again."""
    said = []
    with ExitStack() as stack:
        shop = open_workshop(settings, ignore)
        stack.enter_context(shop.store)
        cells = tuple(unit for unit in shop.configuration.units if unit.kind is PackageKind.KMOD)
        fetch_sources(shop, cells)
        make_buildroots(shop, cells)
        for unit in cells:
            job = make_job(shop, unit, record=False)
            assert job is not None
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
                (images / f"{module.name}.ko").write_bytes(unpack_module(module.path, against, folder))
            said += describe(sorted(images.iterdir()))
    return said


def _of_dkms(host: DkmsHost, folder: Path) -> list[str]:
    images = folder / f"{host.version}@{host.release}"
    images.mkdir()
    for path in built_modules(host):
        shutil.copyfile(path, images / path.name)
    return describe(sorted(images.iterdir()))


MANY_CELLS = Benchmark(
    name="cells-many-dkms",
    work=f"{CELLS} light cells: {KERNELS} kernels × {len(VERSIONS)} drivers",
    peer="dkms build in a loop",
    note=(
        "repobuild's time is a whole `repobuild build`: compiling, packing, kmod packages, checks, with no cell and no "
        "answer of conftest known; sources are fetched, packages around drivers built, base root and installed "
        "kernel-devel there, as on the peer's host. The peer's time is one `dkms build` after another."
    ),
    prepare=_prepare,
    runs=2,
    target=Target(ratio=1 / 1.5),
)
