"""Make and choose signing keys (docs/adr/0008-deterministic-signatures.md)."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from builder.errors import SignError
from builder.tools.gpg import (
    Passphrase,
    SecretKey,
    generate_key,
    keep_keyring,
    private_home,
)

_MIN_BITS = 2048
_UNUSABLE = {"e": "expired", "r": "revoked", "d": "disabled", "i": "invalid"}


def new_key(gnupghome: Path, name: str, *, passphrase_fd: int | None = None) -> str:
    """Make an RSA4096 key in a GNUPGHOME (made with mode 0700 when missing); returns its fingerprint.

    Without ``passphrase_fd`` the key has no passphrase: the home's file modes protect it.
    """
    passphrase = Passphrase.read(passphrase_fd) if passphrase_fd is not None else Passphrase(secret=b"")
    try:
        gnupghome.mkdir(mode=0o700, parents=True, exist_ok=True)
        check_mode(gnupghome)
        for folder in ("private-keys-v1.d", "openpgp-revocs.d"):
            (gnupghome / folder).mkdir(mode=0o700, exist_ok=True)
    except OSError as exc:
        raise SignError(f"{gnupghome}: {exc.strerror}") from exc
    with private_home(gnupghome) as home:
        fingerprint = generate_key(home, name, passphrase)
        keep_keyring(home, gnupghome)
    return fingerprint


def check_mode(gnupghome: Path) -> None:
    """SignError unless a home is a folder that only its owner can enter."""
    if not gnupghome.is_dir():
        raise SignError(
            f"{gnupghome}: no such folder", hint=f"repobuild key new --gnupghome {gnupghome} makes a key there"
        )
    mode = gnupghome.stat().st_mode & 0o777
    if mode & 0o077:
        raise SignError(f"{gnupghome}: mode {mode:04o} lets others at the secret key", hint=f"chmod 700 {gnupghome}")


def choose_key(keys: Sequence[SecretKey], fingerprint: str | None, gnupghome: Path) -> SecretKey:
    """The one key that signs: the primary key itself where it can, else its newest signing subkey.

    Raises SignError when none or several fit, or when the key is expired, revoked, not RSA or too short.
    """
    wanted = (fingerprint or "").replace(" ", "").removeprefix("0x").upper()
    fitting = [key for key in keys if key.fingerprint.endswith(wanted)]
    owners = sorted({key.fingerprint for key in fitting})
    if not owners:
        what = f"no secret key {fingerprint}" if fingerprint else "no secret key that can sign"
        raise SignError(f"{gnupghome}: {what}", hint=f"repobuild key new --gnupghome {gnupghome} makes one")
    if len(owners) > 1:
        hint = "choose one with --signing-key"
        raise SignError(f"{gnupghome}: {len(owners)} keys can sign", details=owners, hint=hint)
    usable = [key for key in fitting if key.validity not in _UNUSABLE]
    if not usable:
        if min(key.created for key in fitting) > time.time():  # gpg calls that invalid
            raise SignError(
                f"{gnupghome}: key {owners[0]} was made later than this machine's clock shows",
                hint="set the clock: what was signed before keeps its dates, which do not come from it",
            )
        raise SignError(f"{gnupghome}: key {owners[0]} is {_UNUSABLE[fitting[0].validity]}")
    chosen = max(usable, key=lambda key: (key.signing == key.fingerprint, key.created))
    if not chosen.rsa or chosen.bits < _MIN_BITS:
        raise SignError(
            f"{gnupghome}: key {owners[0]} is not RSA of at least {_MIN_BITS} bits: EL8's rpm could not verify it",
            hint=f"repobuild key new --gnupghome {gnupghome} makes an RSA4096 key",
        )
    return chosen
