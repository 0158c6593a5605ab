"""How far a cell must be qualified: as far as the most careful stream asks that may carry it."""

from __future__ import annotations

from builder.model.cells import Cell
from builder.model.levels import Level, highest
from builder.model.matrix import Kmods, Matrix
from builder.plan.units import streams_of


def required_level(cell: Cell, matrix: Matrix) -> Level:
    """The highest level of the precompiled streams of the cell's distribution, branch and flavor."""
    return highest(
        *(
            stream.level
            for stream in streams_of(matrix, cell.distribution)
            if stream.kmods is Kmods.PRECOMPILED
            and stream.flavor is cell.flavor
            and stream.branch in (None, cell.driver.branch)
        )
    )
