"""Archives that NVIDIA publishes beside a driver's .run: found, fetched, their members listed."""

from __future__ import annotations

from functools import partial

from builder.errors import PinMissingError, RepobuildError
from builder.fetch import fetch_source, find_archive, read_archive
from builder.model.cells import Unit
from builder.model.matrix import Source
from builder.model.sources import DriverArchive
from builder.pipeline.workers import run_all
from builder.pipeline.workshop import ArchiveId, Workshop, archive_id, archive_source, missing_pin


def find_archives(shop: Workshop) -> None:
    """Fill the facts with the archives that were read before, and with missing pins."""
    for identity, (unit, source) in _wanted(shop.configuration.units).items():
        found = _find(shop, unit, source)
        if found is not None:
            shop.facts.archives[identity] = found


def fetch_archives(shop: Workshop, units: tuple[Unit, ...]) -> None:
    """Fetch, check against the pins and list the archives of these units; failures become facts."""
    missing = {
        i: pair for i, pair in _wanted(units).items() if not isinstance(shop.facts.archives.get(i), DriverArchive)
    }
    tasks = {i: partial(_fetch, shop, unit, source) for i, (unit, source) in missing.items()}
    found = run_all(tasks, workers=shop.settings.workers)
    shop.facts.archives.update(found)
    for identity, outcome in found.items():
        if isinstance(outcome, RepobuildError):
            text = "; ".join((outcome.message, *outcome.details[:3]))
            shop.tell("fetch", missing[identity][1].filename, "failed", text, code=outcome.code)


def _wanted(units: tuple[Unit, ...]) -> dict[ArchiveId, tuple[Unit, Source]]:
    pairs = ((unit, archive_source(unit)) for unit in units)
    return {archive_id(unit): (unit, source) for unit, source in pairs if source is not None}


def _find(shop: Workshop, unit: Unit, source: Source) -> DriverArchive | RepobuildError | None:
    pin = shop.configuration.lock.pin(source.url)
    if pin is None:
        return missing_pin(shop, unit.driver, source)
    if shop.store.source(pin.sha256, source.filename) is None:
        return None
    return find_archive(unit.driver, source, pin.sha256, shop.store)


def _fetch(shop: Workshop, unit: Unit, source: Source) -> DriverArchive:
    error = shop.facts.archives.get(archive_id(unit))
    if isinstance(error, PinMissingError):  # told with the command for this driver
        raise error
    shop.tell("fetch", source.filename, "started", source.url)
    lock = shop.configuration.lock
    path = shop.try_again("fetch", source.filename, partial(fetch_source, source, lock, shop.store))
    pin = lock.pin(source.url)
    assert pin is not None  # noqa: S101  fetch_source refuses a source without a pin
    archive = read_archive(unit.driver, source, path, pin.sha256, shop.store)
    shop.tell("fetch", source.filename, "done", f"sha256 {pin.sha256[:12]}…, {len(archive.members)} files")
    return archive
