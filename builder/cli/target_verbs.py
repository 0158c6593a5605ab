"""push, serve, bundle, unbundle: how a publication reaches those who read it."""

from __future__ import annotations

import sys
from contextlib import suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click

from builder.cli.options import key_options, repo_options
from builder.cli.output import command, people, print_json
from builder.pipeline.bundles import make_bundle, place_bundle
from builder.pipeline.push import KEEP_DAYS, push_all
from builder.pipeline.serve import open_server
from builder.sign import Signer


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


@click.command()
@click.argument("distribution")
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path, dir_okay=False), help="The file to write."
)
@click.option("--arch", default="x86_64", show_default=True)
@click.option("--stream", "streams", multiple=True, metavar="NAME", help="Only this stream (repeatable).")
@click.option("--kernel", "kernels", multiple=True, metavar="GLOB", help="Only modules of these kernels (repeatable).")
@click.option(
    "--since",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="An earlier bundle: leave out what it brought.",
)
@repo_options
@key_options
@command
def bundle(
    distribution: str,
    output: Path,
    repo_path: Path,
    gnupghome: Path | None,
    signing_key: str | None,
    passphrase_fd: int | None,
    as_json: bool,
    **options: Any,
) -> None:
    """Write the current publication, or some streams and kernels of it, to one signed file for a site without network.

    \b
    Example:
      repobuild bundle el9 -o el9.bundle --stream r580-open --kernel '5.14.0-6*' --gnupghome ./keys
      repobuild bundle el9 -o el9-2.bundle --since el9.bundle --gnupghome ./keys
    """
    if gnupghome is None:
        raise click.UsageError("--gnupghome: a bundle is signed by the key of its publication")
    signer = Signer.open(gnupghome.absolute(), signing_key, passphrase_fd)
    made = make_bundle(repo_path, output, distribution, signer, **options)
    if as_json:
        print_json(asdict(made))
    else:
        text = f"{output}: {len(made.streams)} streams, {made.carried} of {made.files} files, {made.size} bytes"
        people().print(f"{text}; publication {made.digest[:12]}", markup=False, soft_wrap=True)


@click.command()
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--key",
    "key_paths",
    multiple=True,
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Public key to trust beside those published in --repo already (repeatable).",
)
@click.option("--base-url", metavar="URL", help="Where clients will find the repository. [default: file://<repo>]")
@repo_options
@command
def unbundle(file: Path, key_paths: tuple[Path, ...], base_url: str | None, repo_path: Path, as_json: bool) -> None:
    """Look at everything that a bundle carries, then make it the current publication of --repo by one rename.

    \b
    Example:
      repobuild unbundle el9.bundle --repo /srv/www/repo --key RPM-GPG-KEY-example
    """
    placed = place_bundle(file, repo_path, key_paths, base_url)
    if as_json:
        print_json({"distribution": placed.distribution, "arch": placed.arch, "digest": placed.digest})
    else:
        what = f"{placed.distribution}/{placed.arch} is {placed.digest[:12]}, {placed.packages} packages"
        people().print(f"{what}, at {placed.current}", markup=False, soft_wrap=True)
