"""push, serve, bundle, unbundle: how a publication reaches those who read it."""

from __future__ import annotations

import sys
from contextlib import suppress
from pathlib import Path
from typing import Any

import click

from builder.cli.options import repo_options
from builder.cli.output import command, people, print_json
from builder.pipeline.push import KEEP_DAYS, push_all
from builder.pipeline.serve import open_server


@click.command()
@click.argument("targets", nargs=-1, required=True, metavar="TARGET...")
@repo_options
@click.option("--distribution", "distributions", multiple=True, metavar="NAME", help="Only this one (repeatable).")
@click.option(
    "--keep-days",
    type=click.FloatRange(min=0),
    default=KEEP_DAYS,
    show_default=True,
    metavar="N",
    help="Former publications stay at the target for so long after the switch.",
)
@click.option(
    "--ssh-config",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    envvar="REPOBUILD_SSH_CONFIG",
    help="Configuration file for ssh: host, port, key.",
)
@command
def push(targets: tuple[str, ...], repo_path: Path, as_json: bool, **options: Any) -> None:
    """Send the current publications to where clients read them; their clients never see a mixture.

    TARGET is a folder, user@host:/folder (rsync over ssh), rsync://host/module/folder or s3://bucket/prefix.
    Interrupted, it goes on from there when run again.

    \b
    Example:
      repobuild push www@mirror.example.com:/srv/www/gpu s3://example-gpu/repo
    """
    pushed = push_all(repo_path, targets, **options)
    if as_json:
        print_json({"pushed": [one.document() for one in pushed]})
        return
    for one in pushed:
        people().print(one.line(), markup=False, soft_wrap=True)


@click.command()
@repo_options
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen at; :: for all.")
@click.option("--port", type=click.IntRange(0, 65535), default=8080, show_default=True, help="0: any that is free.")
@click.option("-v", "--verbose", is_flag=True, help="Print a line for each request.")
@command
def serve(repo_path: Path, as_json: bool, host: str, port: int, verbose: bool) -> None:
    """Let clients read the publications over HTTP, read-only, until Ctrl-C: for tests and small sites.

    A client that began before a publication was switched ends with the one it began with.

    \b
    Example:
      repobuild serve --work /srv/repobuild --host :: --port 80
    """
    console = people()

    def show(line: str) -> None:
        if verbose:
            console.print(line, markup=False, soft_wrap=True)

    with open_server(repo_path, host, port, show) as server:
        if as_json:
            print_json({"url": server.url})
            sys.stdout.flush()
        console.print(f"serving {repo_path} at {server.url}", markup=False, soft_wrap=True)
        with suppress(KeyboardInterrupt):
            server.serve_forever()


VERBS = (push, serve)
