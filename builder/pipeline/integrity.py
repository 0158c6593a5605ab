"""Whose signatures hosts take for ours today, and until when a publication may be believed (ADR 0026)."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from functools import partial

from builder.errors import SignError
from builder.model.matrix import Integrity
from builder.pipeline.settings import Settings
from builder.publish import KEY_FILE, Terms, issue_site, key_files
from builder.sign import Signer
from builder.tools.gpg import fingerprint_of


def open_signer(settings: Settings, integrity: Integrity) -> Signer:
    """The signer of this run: the key that is declared for today, where keys are declared.

    Raises SignError with the way to make a key when none is given, and when another one than today's is named.
    """
    if settings.gnupghome is None:
        raise SignError(
            "no signing key: --gnupghome is not given",
            hint="repobuild key new --gnupghome DIR makes one; or set REPOBUILD_GNUPGHOME to an existing home",
        )
    today = datetime.now(UTC).strftime("%Y-%m-%d")
    declared = integrity.key_of(today)
    if declared is None:
        return Signer.open(settings.gnupghome, settings.signing_key, settings.passphrase_fd)
    fingerprint = fingerprint_of(declared.data)
    named = (settings.signing_key or "").replace(" ", "").removeprefix("0x").upper()
    if not fingerprint.endswith(named):
        raise SignError(
            f"--signing-key {settings.signing_key}: on {today} {declared.name} signs, {fingerprint}",
            hint="leave --signing-key out, or change the days of integrity.keys in matrix.yaml",
        )
    return Signer.open(settings.gnupghome, fingerprint, settings.passphrase_fd)


def declared_keys(integrity: Integrity) -> tuple[bytes, ...]:
    """The public keys that clients are told of, oldest first; none where only the signing one counts."""
    return tuple(key.data for key in integrity.keys)


def told_keys(settings: Settings, integrity: Integrity, signer: Signer | None) -> tuple[bytes, ...]:
    """The public keys that a package brings to hosts, oldest first; () while no key is known.

    Without a signer (who only looks) they are the declared ones, else the one that was published.
    """
    declared, published = declared_keys(integrity), settings.repo_path / KEY_FILE
    if signer is not None:
        return tuple(key_files(signer.public_key(), declared).values())
    return declared or ((published.read_bytes(),) if published.is_file() else ())


def trusted_keys(signer: Signer, integrity: Integrity) -> tuple[bytes, ...]:
    """Whose signatures a client of ours takes: today's key, then the others."""
    own = signer.public_key()
    return (own, *(key for key in declared_keys(integrity) if fingerprint_of(key) != signer.fingerprint))


def former_fingerprints(signer: Signer, integrity: Integrity) -> tuple[str, ...]:
    """The keys that signed before today's one, oldest first: what they signed stays as it is."""
    found = [fingerprint_of(key) for key in declared_keys(integrity)]
    return tuple(found[: found.index(signer.fingerprint)]) if signer.fingerprint in found else ()


def key_names(integrity: Integrity) -> tuple[str, ...]:
    """The key files that a .repo file names."""
    keys = declared_keys(integrity)
    return tuple(key_files(keys[0], keys)) if len(keys) > 1 else (KEY_FILE,)


def terms_of(settings: Settings, integrity: Integrity) -> Terms:
    """From now on, for the lifetime of matrix.yaml."""
    return Terms(now=int(time.time()), lifetime=integrity.lifetime, sequence=settings.least_sequence)


def sign_site(settings: Settings, signer: Signer, integrity: Integrity) -> bool:
    """Sign what lies at the top of the repository now; False where the signed list says it already (ADR 0031)."""
    sign = partial(signer.sign_detached, epoch=0)
    return issue_site(settings.repo_path, key=signer.fingerprint, sign=sign, terms=terms_of(settings, integrity))
