"""key: make and show signing keys."""

from __future__ import annotations

from pathlib import Path

import click

from builder.cli.output import command, people, print_json
from builder.sign import Signer, new_key
from builder.sign.modules import ModuleCertificate, new_module_key


@click.group()
def key() -> None:
    """Make and show keys: OpenPGP for packages and metadata, X.509 for kernel modules.

    \b
    Example:
      repobuild key new --gnupghome ./keys --name 'Example GPU drivers'
      repobuild key new-module --cert ./keys/modules.pem --name 'Example kernel modules'
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


_CERTIFICATE = click.option(
    "--cert",
    type=click.Path(path_type=Path, dir_okay=False),
    required=True,
    envvar="REPOBUILD_MODULE_CERT",
    help="The certificate's file.",
)


@key.command("new-module")
@_CERTIFICATE
@click.option(
    "--key",
    "key_file",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The key's file. [default: the certificate's path, ending in .key]",
)
@click.option("--name", default="repobuild kernel modules", show_default=True, help="Common name; modinfo shows it.")
@click.option("--ec", "ecdsa", is_flag=True, help="P-384 instead of RSA2048; not every kernel verifies it.")
@click.option("--passphrase-fd", type=int, metavar="FD", help="Encrypt the key with the passphrase read from here.")
@_JSON
@command
def new_module(
    cert: Path, key_file: Path | None, name: str, ecdsa: bool, passphrase_fd: int | None, as_json: bool
) -> None:
    """Make a key for signing kernel modules, and its certificate, which hosts enrol for Secure Boot.

    \b
    Example:
      repobuild key new-module --cert ./keys/modules.pem --name 'Example kernel modules'
    """
    made = new_module_key(cert, key_file or cert.with_suffix(".key"), name, ecdsa=ecdsa, passphrase_fd=passphrase_fd)
    _print_certificate(made, cert, as_json=as_json)


@key.command("show-module")
@_CERTIFICATE
@_JSON
@command
def show_module(cert: Path, as_json: bool) -> None:
    """Print the name and sha256 fingerprint of a module certificate.

    \b
    Example:
      repobuild key show-module --cert ./keys/modules.pem
    """
    _print_certificate(ModuleCertificate.read(cert), cert, as_json=as_json)


def _print_certificate(certificate: ModuleCertificate, path: Path, *, as_json: bool) -> None:
    if as_json:
        print_json({"name": certificate.name, "fingerprint": certificate.fingerprint, "certificate": str(path)})
    else:
        people().print(f"'{certificate.name}' {certificate.fingerprint} in {path}")
