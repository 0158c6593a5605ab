"""plan, status, why, report, diff: verbs that look and change nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from builder.cli.completion import complete_cells
from builder.cli.options import look_options, make_settings
from builder.cli.output import command, data, print_json, warnings
from builder.pipeline.documents import plan_document
from builder.pipeline.generations import compare
from builder.pipeline.look import status_of, support_of
from builder.pipeline.matrix import plan as make_plan
from builder.pipeline.why import explain
from builder.report import print_actions, print_support_matrix


@click.command()
@look_options
@click.option("-o", "--output", type=click.Path(path_type=Path, dir_okay=False), help="Also write the plan here.")
@command
def plan(as_json: bool, output: Path | None, **options: Any) -> None:
    """Say for every cell and package: build, reuse, skip or blocked, and why. Changes nothing.

    \b
    Example:
      repobuild plan -o plan.json && repobuild build --plan plan.json
    """
    configuration, actions = make_plan(make_settings(options), warnings)
    document = plan_document(configuration, actions)
    if output is not None:
        output.write_text(json.dumps(document, indent=2) + "\n")
    if as_json:
        print_json(document)
    else:
        print_actions(data(), actions)


@click.command()
@look_options
@command
def status(as_json: bool, **options: Any) -> None:
    """What the work folder holds: results, failures, current publications.

    \b
    Example:
      repobuild status --work /srv/repobuild
    """
    found = status_of(make_settings(options), warnings)
    if as_json:
        print_json(found.document())
        return
    for line in found.lines():
        data().print(line, markup=False, soft_wrap=True)


@click.command()
@click.argument("cell", shell_complete=complete_cells)
@look_options
@command
def why(cell: str, as_json: bool, **options: Any) -> None:
    """Everything known of one cell or package: decision, key and its parts, which of them changed, checks, logs.

    \b
    Example:
      repobuild why r535-open@5.14.0-503.11.1.el9_5.x86_64
    """
    document = explain(make_settings(options), cell, warnings)
    if as_json:
        print_json(document)
        return
    for name, value in document.items():
        for number, line in enumerate(value if isinstance(value, list) else [value]):
            data().print(f"{name if number == 0 else '':<12} {line}", markup=False, soft_wrap=True)


@click.command()
@look_options
@command
def report(as_json: bool, **options: Any) -> None:
    """The support matrix of the current publications: kernels × streams, lifetimes, what is held back and why.

    \b
    Example:
      repobuild report --json > support-matrix.json
    """
    found = support_of(make_settings(options))
    if as_json:
        print_json({"support_matrix": [document for _, document in found]})
        return
    for _, document in found:
        print_support_matrix(data(), document, datetime.now(UTC).date())


@click.command()
@click.argument("distribution")
@click.argument("old", required=False)
@click.argument("new", required=False)
@click.option("--arch", default="x86_64", show_default=True)
@look_options
@command
def diff(distribution: str, old: str | None, new: str | None, arch: str, as_json: bool, **options: Any) -> None:
    """What two publications differ in, and which hosts notice; by default the current one and the one before.

    OLD and NEW are beginnings of digests.

    \b
    Example:
      repobuild diff el9
      repobuild diff el9 3f2a 91c0
    """
    found = compare(make_settings(options), distribution, arch, old, new)
    if as_json:
        print_json(found.document())
        return
    for line in found.lines():
        data().print(line, markup=False, soft_wrap=True)
