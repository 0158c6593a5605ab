"""What a run did, for reports."""

from __future__ import annotations

from dataclasses import dataclass

from builder.errors import RepobuildError
from builder.model.cells import Action
from builder.model.matrix import Distribution
from builder.model.planning import Excluded, StreamPlan, UnitOutcome
from builder.model.publication import Publication


@dataclass(frozen=True, slots=True, kw_only=True)
class DistributionReport:
    """One distribution × arch of a run."""

    distribution: Distribution
    arch: str
    streams: tuple[StreamPlan, ...]
    publication: Publication | None  # None: nothing to publish, or not asked for
    error: RepobuildError | None = None  # why publishing failed


@dataclass(frozen=True, slots=True, kw_only=True)
class RunReport:
    """Actions as planned, outcomes as they came, publications."""

    actions: tuple[Action, ...]
    outcomes: tuple[UnitOutcome, ...]  # kmods and packages in action order, then gates
    excluded: tuple[Excluded, ...]
    distributions: tuple[DistributionReport, ...]
