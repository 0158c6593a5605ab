"""Write rendered specs and mock configurations to a folder."""

from __future__ import annotations

from pathlib import Path

from builder.errors import PinMissingError, RepobuildError
from builder.model.cells import Unit
from builder.pipeline.events import ignore
from builder.pipeline.matrix import open_workshop
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import exists, render_unit
from builder.pipeline.workshop import known, sources_of
from builder.render import render_mock_config


def write_specs(settings: Settings, output: Path) -> list[Path]:
    """Render every selected unit from fetched sources, and its buildroot's mock configuration.

    Returns the files written, sorted. Raises the first unit's error when its sources are not there.
    """
    shop = open_workshop(settings, ignore, exclusive=False)
    written: set[Path] = set()
    with shop.store:
        look_at_all(shop)
        output.mkdir(parents=True, exist_ok=True)
        for unit in shop.configuration.units:
            if unit.id not in shop.configuration.selected or not exists(shop, unit):
                continue
            chroot = shop.chroot(unit)
            config = output / f"{chroot.name}.cfg"
            if config not in written:
                config.write_text(render_mock_config(chroot, unit.distribution))
                written.add(config)
            sources = known(sources_of(shop, unit))
            if sources is None:
                raise _missing(sources_of(shop, unit), unit)
            spec = render_unit(shop, unit, sources, 1)
            path = output / unit.distribution.name / spec.filename
            path.parent.mkdir(exist_ok=True)
            path.write_text(spec.text)
            written.add(path)
    return sorted(written)


def _missing(error: object, unit: Unit) -> RepobuildError:
    if isinstance(error, RepobuildError):
        return error
    return PinMissingError(f"{unit.id}: its sources are not in the store", hint="repobuild fetch gets them")
