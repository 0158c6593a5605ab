"""From the matrix to its cells, and from globs to a choice of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase

from builder.errors import SelectionError
from builder.model.cells import Cell
from builder.model.matrix import Distribution, Driver, Flavor, Kmods, Matrix
from builder.plan.units import drivers_by_version, may_carry, streams_of


def expand_cells(matrix: Matrix) -> tuple[tuple[Cell, ...], tuple[tuple[Cell, str], ...]]:
    """All cells, and apart from them the excluded ones with the reason of the first rule that matches.

    A cell exists where a live kernel meets a driver with an installer for its arch, in a flavor that some precompiled
    stream of the distribution can use. Order: distribution, kernel variant and EVR, driver version, flavor.
    """
    cells: list[Cell] = []
    excluded: list[tuple[Cell, str]] = []
    for cell in _all_cells(matrix):
        reason = next((rule.reason for rule in matrix.excludes if fnmatchcase(cell.id, rule.cells)), None)
        if reason is None:
            cells.append(cell)
        else:
            excluded.append((cell, reason))
    return tuple(cells), tuple(excluded)


def _all_cells(matrix: Matrix) -> list[Cell]:
    drivers = drivers_by_version(matrix)
    return [
        Cell(driver=driver, newest=newest, flavor=flavor, kernel=kernel, distribution=distribution)
        for distribution in matrix.distributions
        for wanted in [_precompiled(matrix, distribution)]
        for kernel in distribution.kernels
        if kernel.live
        for driver, newest in drivers
        if any(source.kind == "run" and source.arch == kernel.arch for source in driver.sources)
        for flavor in Flavor
        if (driver.version, flavor) in wanted
    ]


def _precompiled(matrix: Matrix, distribution: Distribution) -> set[tuple[str, Flavor]]:
    """Driver version × flavor that precompiled streams of a distribution can use."""
    found: set[tuple[str, Flavor]] = set()
    drivers: list[Driver] = [driver for driver, _ in drivers_by_version(matrix)]
    for stream in streams_of(matrix, distribution):
        if stream.kmods is Kmods.PRECOMPILED:
            found |= {(driver.version, stream.flavor) for driver in drivers if may_carry(stream, driver)}
    return found


def match(cell_id: str, globs: Collection[str]) -> bool:
    """Does any of the globs match the id? ``*``, ``?`` and ``[…]`` as in a shell, case counts."""
    return any(fnmatchcase(cell_id, glob) for glob in globs)


def select_cells(cells: Sequence[Cell], select: Sequence[str], skip: Sequence[str]) -> tuple[Cell, ...]:
    """Cells that any ``select`` glob matches (all where there is none) and no ``skip`` glob, in their order.

    Raises SelectionError for the globs that match no cell at all, with near names; and when nothing is left.
    """
    ids = [cell.id for cell in cells]
    dead = [
        f"{option} {glob}: matches no cell{_near(glob, ids)}"
        for option, globs in (("--select", select), ("--skip", skip))
        for glob in globs
        if not any(fnmatchcase(cell_id, glob) for cell_id in ids)
    ]
    hint = "repobuild cells lists every id"
    if dead:
        raise SelectionError(dead[0], details=dead[1:], hint=hint)
    chosen = tuple(c for c in cells if (not select or match(c.id, select)) and not match(c.id, skip))
    if cells and not chosen:
        raise SelectionError("--select and --skip together leave no cell", hint=hint)
    return chosen


def _near(glob: str, ids: Sequence[str]) -> str:
    near = difflib.get_close_matches(glob, ids, n=3, cutoff=0.5)
    return f"; near: {', '.join(near)}" if near else ""
