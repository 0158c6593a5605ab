"""Drivers whose matrix names the open modules' source release: its src/ is built once a driver and buildroot.

What comes of it is shared by every kernel, and stands in for the objects of the .run in everything open.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from builder.errors import BuildError, RepobuildError
from builder.fetch import fetch_source, keep_open_tree, tarball_file, with_open_tree
from builder.model.cells import Unit
from builder.model.matrix import Source
from builder.model.sources import Buildroot, DriverSources, SpecFile
from builder.pipeline.archives import find_archives
from builder.pipeline.modules import rpmbuild
from builder.pipeline.workers import run_all
from builder.pipeline.workshop import (
    Workshop,
    known,
    look,
    missing_pin,
    open_id,
    open_source,
    source_id,
    takes_open_tree,
)
from builder.plan.actions import key_of, unit_parts
from builder.render import OPEN_TREE_FOLDER, render_open_tree


def look_at_all(shop: Workshop) -> None:
    """Fill the facts with everything that can be known without fetching or making anything."""
    look(shop)
    find_archives(shop)
    find_open_trees(shop)


def find_open_trees(shop: Workshop) -> None:
    """Fill the facts with the trees that were built before, and with missing pins."""
    for unit in _units(shop, shop.configuration.units):
        found = _find(shop, unit)
        if found is not None:
            shop.facts.open_trees[open_id(shop, unit)] = found


def make_open_trees(shop: Workshop, units: tuple[Unit, ...]) -> None:
    """Fetch the source releases of these units and build what is missing; failures become facts."""
    missing = {
        open_id(shop, u): u for u in _units(shop, units) if known(shop.facts.open_trees.get(open_id(shop, u))) is None
    }
    made = run_all({i: partial(_make, shop, unit) for i, unit in missing.items()}, workers=shop.settings.workers)
    shop.facts.open_trees.update(made)


def _units(shop: Workshop, units: tuple[Unit, ...]) -> tuple[Unit, ...]:
    """One unit for each tree that these units need, where its archive and buildroot are known."""
    found: dict[tuple[str, str], Unit] = {}
    for unit in units:
        if takes_open_tree(unit) and _base(shop, unit) is not None:
            found.setdefault(open_id(shop, unit), unit)
    return tuple(found.values())


def _base(shop: Workshop, unit: Unit) -> tuple[DriverSources, Buildroot] | None:
    sources = known(shop.facts.sources.get(source_id(unit)))
    buildroot = known(shop.facts.buildroots.get(shop.chroot(unit).name))
    return None if sources is None or buildroot is None else (sources, buildroot)


def _find(shop: Workshop, unit: Unit) -> DriverSources | RepobuildError | None:
    base = _base(shop, unit)
    source = open_source(unit)
    assert base is not None  # noqa: S101  _units asks for both
    pin = shop.configuration.lock.pin(source.url)
    if pin is None:
        return missing_pin(shop, unit.driver, source)
    path = shop.store.source(pin.sha256, source.filename)
    if path is None:
        return None
    folder = shop.store.folder("trees", _key(shop, unit, _spec(shop, unit, path, pin.sha256), *base))
    return None if folder is None else with_open_tree(base[0], folder)


def _make(shop: Workshop, unit: Unit) -> DriverSources:
    base = _base(shop, unit)
    source = open_source(unit)
    assert base is not None  # noqa: S101  _units asks for both
    path = _fetch(shop, source)
    pin = shop.configuration.lock.pin(source.url)
    assert pin is not None  # noqa: S101  fetch_source refuses a source without a pin
    sources, buildroot = base
    spec = _spec(shop, unit, path, pin.sha256)

    def fill(folder: Path) -> None:
        shop.tell("build", source.filename, "started", f"objects of {unit.driver.version}, open")
        with shop.store.tmp() as tmp:
            resultdir, seconds = rpmbuild(shop, unit, spec, buildroot, sources, tmp)
            rpms = [rpm for rpm in resultdir.glob("*.rpm") if not rpm.name.endswith(".src.rpm")]
            if len(rpms) != 1:
                raise BuildError(f"{source.filename}: the build left {len(rpms)} packages, one is expected")
            scratch = tmp / "tree"
            scratch.mkdir()
            keep_open_tree(rpms[0], OPEN_TREE_FOLDER, sources, folder, scratch)
            for log in resultdir.glob("*.log"):
                log.rename(folder / log.name)
        shop.tell("build", source.filename, "done", "its objects serve every kernel", seconds)

    return with_open_tree(sources, shop.store.put_folder("trees", _key(shop, unit, spec, *base), fill))


def _fetch(shop: Workshop, source: Source) -> Path:
    shop.tell("fetch", source.filename, "started", source.url)
    fetch = partial(fetch_source, source, shop.configuration.lock, shop.store)
    path = shop.try_again("fetch", source.filename, fetch)
    shop.tell("fetch", source.filename, "done")
    return path


def _spec(shop: Workshop, unit: Unit, path: Path, sha256: str) -> SpecFile:
    matrix = shop.configuration.matrix
    return render_open_tree(unit.driver, unit.distribution, unit.arch, tarball_file(path, sha256), matrix)


def _key(shop: Workshop, unit: Unit, spec: SpecFile, sources: DriverSources, buildroot: Buildroot) -> str:
    parts = unit_parts(
        spec,
        distribution=unit.distribution,
        chroot=buildroot.chroot,
        buildroot_identity=buildroot.identity,
        devel_sha256=None,
        source_date_epoch=sources.source_date_epoch,
        recipe=shop.builder.recipe,
    )
    return key_of(parts)
