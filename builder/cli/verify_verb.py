"""verify: look at a publication as clients do, or build a cell again and compare."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.cli.completion import complete_cells
from builder.cli.options import make_settings, rebuild_options
from builder.cli.output import command, people, print_json
from builder.cli.progress import open_progress
from builder.pipeline.verify import default_state
from builder.pipeline.verify import verify as run_verify


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
@click.option(
    "--hermetic",
    is_flag=True,
    help="With --rebuild: in a root of exactly the packages that the cell's lock names, fetched again.",
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
    hermetic: bool,
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
      repobuild verify --rebuild r535-open@5.14.0-503.11.1.el9_5.x86_64 --hermetic
    """
    if bool(location) == bool(cells) or (location and not key_files):
        raise click.UsageError("give LOCATION and --key, or --rebuild CELL")
    if hermetic and not cells:
        raise click.UsageError("--hermetic is for --rebuild CELL")
    if cells:
        from builder.pipeline.rebuild import rebuild_cell  # noqa: PLC0415  all that builds: clients need none of it

        with open_progress(people()) as progress:
            same = {cell: rebuild_cell(make_settings(options), cell, progress, locked=hermetic) for cell in cells}
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
