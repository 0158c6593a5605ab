"""plan, status, why, report, diff, verify: verbs that look and change nothing."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click

from builder.cli.completion import complete_cells
from builder.cli.options import look_options, make_settings, rebuild_options
from builder.cli.output import command, data, people, print_json, warnings
from builder.cli.progress import open_progress
from builder.pipeline.documents import plan_document
from builder.pipeline.generations import compare
from builder.pipeline.look import status_of, support_of
from builder.pipeline.matrix import plan as make_plan
from builder.pipeline.rebuild import rebuild_cell
from builder.pipeline.verify import default_state
from builder.pipeline.verify import verify as run_verify
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


@click.command()
@click.argument("location", required=False)
@click.option(
    "--key",
    "key_files",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Public key to trust (repeatable, while one key follows another).",
)
@click.option("--quick", is_flag=True, help="Fetch only the manifest and the metadata's roots; read no package.")
@click.option(
    "--state",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="REPOBUILD_STATE",
    help="File that remembers the newest publication seen of each place. [default: ~/.local/state/repobuild/seen.json]",
)
@click.option("--no-state", is_flag=True, help="Remember nothing: an older publication cannot be told from a new one.")
@click.option("--forget", is_flag=True, help="Forget first what was seen of this place: it was made anew on purpose.")
@click.option(
    "--with-repo",
    "with_repos",
    multiple=True,
    metavar="REPO",
    help="Repository of the distribution (repeatable): every requirement must then be met.",
)
@click.option(
    "--rebuild",
    "cells",
    multiple=True,
    metavar="CELL",
    shell_complete=complete_cells,
    help="Instead: build this cell of the matrix again and compare every byte (repeatable).",
)
@rebuild_options
@command
def verify(
    location: str | None,
    key_files: tuple[Path, ...],
    quick: bool,
    state: Path | None,
    no_state: bool,
    forget: bool,
    with_repos: tuple[str, ...],
    cells: tuple[str, ...],
    as_json: bool,
    **options: Any,
) -> None:
    """Check a published repository as a client would: signatures, checksums, closure, module documents; and whether it
    is the newest one, whole and unmixed, by its signed manifest. LOCATION is a publication, or a repository: then all
    of its publications, and the pages, keys and logs beside them.

    \b
    Example:
      repobuild verify repo --key repo/RPM-GPG-KEY-repobuild
      repobuild verify https://example.org/repo/el9/x86_64 --key RPM-GPG-KEY-example --quick
      repobuild verify --rebuild r535-open@5.14.0-503.11.1.el9_5.x86_64
    """
    if bool(location) == bool(cells) or (location and not key_files):
        raise click.UsageError("give LOCATION and --key, or --rebuild CELL")
    if cells:
        with open_progress(people()) as progress:
            same = {cell: rebuild_cell(make_settings(options), cell, progress) for cell in cells}
        if as_json:
            print_json(same)
        for cell, files in () if as_json else same.items():
            people().print(f"ok: {cell}: {len(files)} files are the same, byte for byte")
    elif location:
        kept = None if no_state else state or default_state()
        found = run_verify(location, key_files, with_repos, quick=quick, state=kept, forget=forget)
        if as_json:
            print_json(found.document())
        for line in () if as_json else found.lines():
            people().print(line, soft_wrap=True)


VERBS = (plan, status, why, report, diff, verify)
