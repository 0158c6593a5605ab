"""lint, cells, schema, pin, kernels: verbs about the files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from builder.cli.options import config_options, look_options, make_settings
from builder.cli.output import command, data, people, print_json
from builder.cli.progress import open_progress
from builder.config import json_schemas
from builder.pipeline.configure import configure
from builder.pipeline.documents import cell_document
from builder.pipeline.event_lines import event_schema
from builder.pipeline.kernel_files import describe_kernels
from builder.pipeline.pin import pin_sources


@click.command()
@config_options
@command
def lint(as_json: bool, **options: Any) -> None:
    """Check matrix.yaml, streams/ and matrix.lock.yaml; all mistakes in one pass.

    \b
    Example:
      repobuild lint --config matrix.yaml
    """
    configuration = configure(make_settings(options))
    matrix = configuration.matrix
    counts = {
        "distributions": len(matrix.distributions),
        "branches": len(matrix.branches),
        "streams": len(matrix.streams),
        "cells": len(configuration.cells),
        "excluded": len(configuration.excluded),
    }
    if as_json:
        print_json({"ok": True, **counts})
    else:
        people().print("ok: " + ", ".join(f"{n} {what}" for what, n in counts.items()))


@click.command()
@look_options
@command
def cells(as_json: bool, **options: Any) -> None:
    """List the cells of the matrix, one id a line.

    \b
    Example:
      repobuild cells --select 'r535-open@*'
    """
    configuration = configure(make_settings(options))
    chosen = [c for c in configuration.cells if c.id in configuration.selected]
    if as_json:
        print_json({"cells": [cell_document(c) for c in chosen]})
        return
    for cell in chosen:
        data().print(cell.id, soft_wrap=True)


@click.command()
@click.argument("name", type=click.Choice(["matrix", "stream", "lock", "event"]))
@click.option("--json", "as_json", is_flag=True, help="Accepted for uniformity; a schema is JSON anyway.")
@command
def schema(name: str, as_json: bool) -> None:  # noqa: ARG001  every verb has --json
    """Print the JSON Schema of a file, for editors.

    \b
    Example:
      repobuild schema matrix > matrix.schema.json
    """
    print_json(event_schema() if name == "event" else json_schemas()[name])


@click.command()
@look_options
@command
def pin(as_json: bool, **options: Any) -> None:
    """Fetch the sources of the selected cells and record their digests in matrix.lock.yaml.

    The only way a digest gets there. Bytes that differ from an existing pin are an error.

    \b
    Example:
      repobuild pin --select 'r550*'
    """
    console = people()
    with open_progress(console) as progress:
        pins = pin_sources(make_settings(options), progress)
    if as_json:
        print_json({"pins": [{"url": p.url, "sha256": p.sha256, "size": p.size} for p in pins]})
    else:
        console.print(f"{len(pins)} sources pinned")


@click.command()
@click.argument("rpms", nargs=-1, required=True, type=click.Path(path_type=Path, exists=True))
@click.option("--distribution", required=True, help="Name in matrix.yaml that the kernels belong to.")
@click.option("--json", "as_json", is_flag=True, help="JSON instead of YAML.")
@command
def kernels(rpms: tuple[Path, ...], distribution: str, as_json: bool) -> None:
    """Read kernel and kernel-devel RPMs and print their entries for matrix.yaml.

    \b
    Example:
      repobuild kernels --distribution el9 kernel-core-*.rpm kernel-devel-*.rpm
    """
    described = describe_kernels(rpms, distribution)
    if as_json:
        print_json({"kernels": described.entries})
    else:
        click.echo(described.yaml, nl=False)
