"""Read the configuration and choose what a run is about."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches

from builder.config import load_lock, load_matrix, load_retired
from builder.errors import SelectionError
from builder.model.cells import Cell, PackageKind, Unit
from builder.model.lifetimes import Retired
from builder.model.matrix import Lock, Matrix
from builder.model.planning import Excluded
from builder.pipeline.settings import Settings
from builder.plan.cells import expand_cells, match, select_cells
from builder.plan.lifetimes import without_retired
from builder.plan.units import kmod_unit, package_units


@dataclass(frozen=True, slots=True, kw_only=True)
class Configuration:
    """The checked files and every unit they ask for."""

    matrix: Matrix
    lock: Lock
    cells: tuple[Cell, ...]
    excluded: tuple[Excluded, ...]
    units: tuple[Unit, ...]  # kmods in cell order, then the packages around them; gates come after the builds
    selected: frozenset[str]  # unit ids
    retired: tuple[Retired, ...] = ()  # what the matrix above is without


def configure(settings: Settings) -> Configuration:
    """Load all files, expand the cells, apply --select and --skip.

    Raises ConfigError with every mistake of the file set, SelectionError for patterns that match nothing.
    """
    retired = load_retired(settings.retired_path)
    matrix = without_retired(load_matrix(settings.config, settings.streams), retired)
    lock = load_lock(settings.lock_path)
    cells, excluded = expand_cells(matrix)
    units = (
        *(kmod_unit(cell) for cell in cells),
        *package_units(matrix, cells, signed=settings.module_cert is not None),
    )
    return Configuration(
        matrix=matrix,
        lock=lock,
        cells=cells,
        excluded=tuple(Excluded(cell=cell, reason=reason) for cell, reason in excluded),
        units=units,
        retired=retired,
        selected=_selected(units, _of_streams(matrix, cells, settings.only_streams), settings),
    )


def _of_streams(matrix: Matrix, cells: tuple[Cell, ...], names: tuple[str, ...]) -> tuple[Cell, ...]:
    """The cells that these streams can carry; all when none is named."""
    known = {s.name: s for s in matrix.streams}
    for name in names:
        if name not in known:
            near = get_close_matches(name, known, n=3)
            hint = f"did you mean {', '.join(near)}?" if near else f"streams: {', '.join(sorted(known))}"
            raise SelectionError(f"--stream {name}: no such stream", hint=hint)
    wanted = [known[name] for name in names]
    return tuple(
        cell
        for cell in cells
        if not wanted or any(s.flavor is cell.flavor and s.branch in (None, cell.driver.branch) for s in wanted)
    )


def _selected(units: tuple[Unit, ...], cells: tuple[Cell, ...], settings: Settings) -> frozenset[str]:
    """Units that match; the packages around a driver come with its selected cells."""
    if not settings.select and not settings.skip and not settings.only_streams:
        return frozenset(unit.id for unit in units)
    packages = [unit for unit in units if unit.kind is not PackageKind.KMOD]
    named = {
        u.id for u in packages if settings.select and match(u.id, settings.select) and not match(u.id, settings.skip)
    }
    try:
        chosen = select_cells(cells, settings.select, settings.skip)
    except SelectionError:
        if not named:
            raise
        chosen = ()
    around = {(cell.driver.version, cell.distribution.name, cell.arch) for cell in chosen}
    return frozenset(
        {cell.id for cell in chosen}
        | named
        | {u.id for u in packages if (u.driver.version, u.distribution.name, u.arch) in around}
    )
