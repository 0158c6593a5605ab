"""Which kernels and branches are at the end of their lifetime, and which of them may leave. Pure; docs/errata.md."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import date, timedelta

from builder.model.lifetimes import Announced, Departure, Retired, leaves_on, leaving_name
from builder.model.matrix import Branch, Distribution, Kernel, Matrix
from builder.model.nevra import Evr


def without_retired(matrix: Matrix, retired: Sequence[Retired]) -> Matrix:
    """The matrix without what was retired: such kernels are not built, such branches have no drivers and streams."""
    kernels = {one.name for one in retired if one.kind == "kernel"}
    branches = {one.name for one in retired if one.kind == "branch"}
    if not retired:
        return matrix
    return replace(
        matrix,
        distributions=tuple(
            replace(d, kernels=tuple(replace(k, live=k.live and k.release not in kernels) for k in d.kernels))
            for d in matrix.distributions
        ),
        branches=tuple(branch for branch in matrix.branches if branch.name not in branches),
        streams=tuple(stream for stream in matrix.streams if stream.branch not in branches),
    )


def decide_departures(
    matrix: Matrix,
    announced: Mapping[str, Mapping[str, Announced]],
    carried: Mapping[str, Collection[str]],
    today: date,
) -> tuple[Departure, ...]:
    """What becomes of every live kernel and every branch, in the matrix's order.

    ``announced``: by place (distribution/arch) of each publication what it says leaves, by the name of
    ``leaving_name``. ``carried``: by place the branches of the drivers that hosts of streams without a branch get.
    Nothing goes that is in its lifetime, was not announced long enough everywhere, or is needed by installed hosts:
    the newest kernels of each variant, and a branch that hosts get which chose none.
    """
    return (*_kernels(matrix, announced, today), *_branches(matrix, announced, carried, today))


def _kernels(matrix: Matrix, announced: Mapping[str, Mapping[str, Announced]], today: date) -> Iterator[Departure]:
    for distribution in matrix.distributions:
        for kernel in (k for k in distribution.kernels if k.live):
            places = [f"{distribution.name}/{kernel.arch}"]
            leaves = leaves_on(kernel.eol, matrix.retention)
            needed = _among_newest(distribution, kernel, matrix.retention.newest_kernels)
            yield _decide(matrix, "kernel", kernel.release, leaves, needed, _said(announced, places), today)


def _among_newest(distribution: Distribution, kernel: Kernel, number: int) -> str | None:
    alike = [k for k in distribution.kernels if k.live and (k.arch, k.variant) == (kernel.arch, kernel.variant)]
    evrs: list[Evr] = sorted((k.core.evr for k in alike), reverse=True)
    if kernel.core.evr not in evrs[:number]:
        return None
    return (
        f"one of the {number} newest {kernel.variant} kernels of {distribution.name}: hosts that are up to date have it"
    )


def _branches(
    matrix: Matrix,
    announced: Mapping[str, Mapping[str, Announced]],
    carried: Mapping[str, Collection[str]],
    today: date,
) -> Iterator[Departure]:
    for branch in matrix.branches:
        leaves = leaves_on(branch.eol, matrix.retention)
        needed = _chosen_by_nobody(matrix, branch, carried)
        yield _decide(matrix, "branch", branch.name, leaves, needed, _said(announced, sorted(announced)), today)


def _chosen_by_nobody(matrix: Matrix, branch: Branch, carried: Mapping[str, Collection[str]]) -> str | None:
    default = next((s.name for s in matrix.streams if s.branch == branch.name and s.default), None)
    if default is not None:
        return f"its stream {default} is the default: hosts that chose nothing have it"
    place = next((place for place, branches in sorted(carried.items()) if branch.name in branches), None)
    return f"a stream that follows the newest driver carries it on {place}" if place is not None else None


def _said(
    announced: Mapping[str, Mapping[str, Announced]], places: Sequence[str]
) -> Mapping[str, Mapping[str, Announced]]:
    return {place: announced[place] for place in places if place in announced}


def _decide(
    matrix: Matrix,
    kind: str,
    name: str,
    leaves: str | None,
    needed: str | None,
    said: Mapping[str, Mapping[str, Announced]],
    today: date,
) -> Departure:
    goes, reason = _verdict(leaving_name(kind, name), leaves, needed, said, today, matrix.retention.notice_days)
    return Departure(
        kind="kernel" if kind == "kernel" else "branch", name=name, leaves=leaves, goes=goes, reason=reason
    )


def _verdict(
    what: str,
    leaves: str | None,
    needed: str | None,
    said: Mapping[str, Mapping[str, Announced]],
    today: date,
    notice_days: int,
) -> tuple[bool, str]:
    if leaves is None:
        return False, "no end of its lifetime is known"
    if today < date.fromisoformat(leaves):
        return False, f"in its lifetime: leaves on {leaves}"
    if needed is not None:
        return False, needed
    silent = [place for place, rows in sorted(said.items()) if what not in rows or rows[what].leaves > leaves]
    if silent or not said:
        return False, f"not announced yet{f' on {silent[0]}' if silent else ''}: publish once more, which says it"
    since = max(rows[what].since for rows in said.values())
    first = date.fromisoformat(since) + timedelta(days=notice_days)
    if today < first:
        return False, f"announced on {since}: not before {first.isoformat()}"
    return True, f"its lifetime is over; to leave on {leaves}, announced since {since}"
