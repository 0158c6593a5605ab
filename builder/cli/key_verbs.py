"""key: make and show signing keys."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.output import command, people, print_json
from builder.sign import Signer, new_key


@click.group()
def key() -> None:
    """Make and show OpenPGP signing keys.

    \b
    Example:
      repobuild key new --gnupghome ./keys --name 'Example GPU drivers'
    """


_HOME = click.option(
    "--gnupghome",
    type=click.Path(path_type=Path, file_okay=False),
    required=True,
    envvar="REPOBUILD_GNUPGHOME",
    help="GnuPG home; made with mode 0700 when missing.",
)
_JSON = click.option("--json", "as_json", is_flag=True, help="Data on stdout as one JSON document.")


@key.command("new")
@_HOME
@click.option("--name", default="repobuild", show_default=True, help="User id of the key.")
@click.option("--passphrase-fd", type=int, metavar="FD", help="Protect it with the passphrase read from here.")
@_JSON
@command
def new(gnupghome: Path, name: str, passphrase_fd: int | None, as_json: bool) -> None:
    """Make an RSA4096 key (EL8's rpm cannot verify ed25519), without passphrase unless one is given.

    \b
    Example:
      repobuild key new --gnupghome ./keys
    """
    fingerprint = new_key(gnupghome.absolute(), name, passphrase_fd=passphrase_fd)
    if as_json:
        print_json({"fingerprint": fingerprint, "gnupghome": str(gnupghome)})
    else:
        people().print(f"made key {fingerprint} in {gnupghome}")


@key.command("show")
@_HOME
@_JSON
@command
def show(gnupghome: Path, as_json: bool) -> None:
    """Print the public key.

    \b
    Example:
      repobuild key show --gnupghome ./keys > RPM-GPG-KEY-example
    """
    signer = Signer.open(gnupghome.absolute(), None, None)
    armored = signer.public_key().decode()
    if as_json:
        print_json({"fingerprint": signer.fingerprint, "public_key": armored})
    else:
        click.echo(armored, nl=False)
