"""gc and prune: the verbs about what is kept, in the work folder and in the publications."""

from __future__ import annotations

import re
from typing import Any

import click

from builder.cli.options import make_settings, work_options
from builder.cli.output import command, data, people, print_json, warnings
from builder.pipeline.documents import retention_document
from builder.pipeline.lifetimes import prune as prune_matrix
from builder.pipeline.retention import KEEP_DAYS, free_space
from builder.report import print_retention

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


def _size(_context: click.Context, _option: click.Parameter, value: str | None) -> int | None:
    """Bytes, from a number with K, M, G or T (powers of 1000)."""
    if value is None:
        return None
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", value.strip(), re.IGNORECASE)
    if match is None:
        raise click.BadParameter(f"{value!r} is no size: a number, then K, M, G or T, as in 200G")
    return int(float(match[1]) * _UNITS[match[2].upper()])


@click.command()
@work_options
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=KEEP_DAYS,
    show_default=True,
    metavar="N",
    help="Keep what was used, or current for clients, in the last N days.",
)
@click.option(
    "--max-size",
    callback=_size,
    metavar="SIZE",
    help="Of that, too, remove what was unused longest, until everything is no larger, e.g. 200G.",
)
@click.option("--dry-run", is_flag=True, help="Say what would go, and why; change nothing.")
@command
def gc(keep_days: float, max_size: int | None, dry_run: bool, as_json: bool, **options: Any) -> None:
    """Free space: remove what neither the matrix nor a kept publication needs and nobody used for a while.

    Kept: what a run of the matrix would take now, each current publication, the one before it and all that it holds.

    \b
    Example:
      repobuild gc --dry-run --keep-days 14
    """
    settings = make_settings(options)
    found = free_space(settings, warnings, keep_days=keep_days, max_size=max_size, dry_run=dry_run)
    if as_json:
        print_json(retention_document(found))
    else:
        print_retention(data(), found)


@click.command()
@work_options
@click.option("--dry-run", is_flag=True, help="Say what would leave, what stays, and why; change nothing.")
@command
def prune(dry_run: bool, as_json: bool, **options: Any) -> None:
    """Retire kernels and branches whose lifetime is over and whose end was announced; the next publication lacks them.

    Written to matrix.retired.yaml beside the matrix. Nothing leaves that is in its lifetime or that installed hosts
    need: the newest kernels, the branch of a default stream.

    \b
    Example:
      repobuild prune --dry-run
    """
    departures = prune_matrix(make_settings(options), dry_run=dry_run)
    if as_json:
        rows = [
            {"kind": d.kind, "name": d.name, "leaves": d.leaves, "goes": d.goes, "reason": d.reason} for d in departures
        ]
        print_json({"retired": not dry_run, "departures": rows})
        return
    for departure in sorted(departures, key=lambda d: not d.goes):
        verb = "goes " if departure.goes else "stays"
        data().print(f"{verb} {departure.what}: {departure.reason}", markup=False, highlight=False, soft_wrap=True)
    going = sum(departure.goes for departure in departures)
    ending = "would be retired" if dry_run else "retired; repobuild publish makes a publication without them"
    people().print(f"{going} {ending}" if going else "nothing leaves")
