"""Sign kernel modules: detached CMS over their final bytes, without attributes, as the kernel's own sign-file does.

The key lies in an encrypted PEM file or in a PKCS#11 token; it never leaves this process and never enters a buildroot.
The certificate is public and goes into the publication, so that hosts can enrol it for Secure Boot.
"""

from __future__ import annotations

import datetime as dt
import os
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from builder.errors import SignError
from builder.sign.token import is_token, token_key
from builder.tools.gpg import Passphrase
from builder.tools.openssl import cms_fault

PrivateKey: TypeAlias = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey
_OPTIONS = [
    pkcs7.PKCS7Options.DetachedSignature,
    pkcs7.PKCS7Options.Binary,
    pkcs7.PKCS7Options.NoAttributes,
    pkcs7.PKCS7Options.NoCerts,
]
_YEARS = 10
_NAME_MAX = 64  # characters of a common name (RFC 5280, ub-common-name)
_RSA_BITS = 2048  # what every firmware and shim can verify; larger ones are taken when given
# Curves of the kernel's ecdsa since 5.13 (crypto/ecc_curve_defs.h).
_CURVES = ("secp256r1", "secp384r1")


@dataclass(frozen=True, slots=True, kw_only=True)
class ModuleCertificate:
    """The public half: what signs is told by it, and what hosts enrol."""

    name: str  # common name
    der: bytes
    pem: bytes
    fingerprint: str  # sha256 of the DER bytes, hex
    ecdsa: bool  # kernels need CONFIG_CRYPTO_ECDSA to verify it

    @classmethod
    def read(cls, path: Path) -> ModuleCertificate:
        """Read a certificate, PEM or DER; raises SignError for anything else and for keys no kernel verifies."""
        data = _read(path)
        try:
            if b"-----BEGIN" in data:
                certificate = x509.load_pem_x509_certificate(data)
            else:
                certificate = x509.load_der_x509_certificate(data)
            public = certificate.public_key()
        except (ValueError, UnsupportedAlgorithm) as exc:
            raise SignError(
                f"{path}: not an X.509 certificate: {exc}", hint="repobuild key new-module --cert FILE makes one"
            ) from exc
        if isinstance(public, ec.EllipticCurvePublicKey) and public.curve.name not in _CURVES:
            raise SignError(f"{path}: kernels do not verify curve {public.curve.name}; use {' or '.join(_CURVES)}")
        if not isinstance(public, rsa.RSAPublicKey | ec.EllipticCurvePublicKey):
            raise SignError(f"{path}: kernels verify RSA and ECDSA signatures of modules, no others")
        names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
        return cls(
            name=str(names[0].value) if names else certificate.subject.rfc4514_string(),
            der=certificate.public_bytes(serialization.Encoding.DER),
            pem=certificate.public_bytes(serialization.Encoding.PEM),
            fingerprint=certificate.fingerprint(hashes.SHA256()).hex(),
            ecdsa=isinstance(public, ec.EllipticCurvePublicKey),
        )


class ModuleSigner:
    """One certificate with its key at work; every signature was verified with the certificate alone."""

    def __init__(self, certificate: ModuleCertificate, key: PrivateKey) -> None:
        self.certificate = certificate
        self._key = key

    @classmethod
    def open(cls, certificate: ModuleCertificate, key: str, passphrase_fd: int | None = None) -> ModuleSigner:
        """Open the key: a PEM file (its passphrase, or a token's PIN, is read once from the descriptor) or a
        ``pkcs11:`` URI (RFC 7512).

        Raises SignError when it cannot be opened, others can read it, or it is not the certificate's.
        """
        passphrase = _passphrase(passphrase_fd)
        public = x509.load_der_x509_certificate(certificate.der).public_key()
        if is_token(key):
            private = cast("PrivateKey", token_key(key, passphrase, public))
        else:
            private = _load(Path(key), passphrase)
        if _public_bytes(private.public_key()) != _public_bytes(public):
            raise SignError(f"{key.partition('?')[0]}: this key is not the one of certificate '{certificate.name}'")
        return cls(certificate, private)

    def sign(self, image: bytes) -> bytes:
        """A detached DER CMS signature over a module's bytes. RSA: the same bytes give the same signature."""
        certificate = x509.load_der_x509_certificate(self.certificate.der)
        builder = pkcs7.PKCS7SignatureBuilder().set_data(image).add_signer(certificate, self._key, hashes.SHA256())
        signature = builder.sign(serialization.Encoding.DER, _OPTIONS)
        fault = cms_fault(image, signature, self.certificate.pem)
        if fault is not None:
            raise SignError(f"'{self.certificate.name}' signed a module, but the signature does not verify: {fault}")
        return signature


def new_module_key(
    certificate: Path, key: Path, name: str, *, ecdsa: bool = False, passphrase_fd: int | None = None
) -> ModuleCertificate:
    """Make a key (PEM, mode 0600) and its self-signed certificate (PEM), valid for ten years from now.

    RSA2048 unless ``ecdsa`` (P-384: kernels from 5.13 on that have CONFIG_CRYPTO_ECDSA). Raises SignError for files
    that are there already, a name that no certificate can carry, and an empty passphrase.
    """
    if certificate.absolute() == key.absolute():
        raise SignError(f"{key}: certificate and key would be one file", hint="give another one with --key")
    if not 1 <= len(name) <= _NAME_MAX:
        raise SignError(f"a certificate's name has 1 to {_NAME_MAX} characters, this one has {len(name)}")
    for path in (certificate, key):
        if path.exists():
            raise SignError(f"{path}: there is a file already", hint="keys are never overwritten: choose another name")
    passphrase = _passphrase(passphrase_fd)
    if passphrase_fd is not None and not passphrase:
        raise SignError(
            f"file descriptor {passphrase_fd}: the passphrase is empty", hint="leave it out for a key without one"
        )
    private: PrivateKey = (
        ec.generate_private_key(ec.SECP384R1())
        if ecdsa
        else rsa.generate_private_key(public_exponent=65537, key_size=_RSA_BITS)
    )
    made = _self_signed(private, name)
    protection = serialization.BestAvailableEncryption(passphrase) if passphrase else serialization.NoEncryption()
    text = private.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, protection)
    try:
        for path in (certificate, key):
            path.parent.mkdir(parents=True, exist_ok=True)
        with os.fdopen(os.open(key, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(text)
        certificate.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    except OSError as exc:
        raise SignError(f"{exc.filename}: {exc.strerror}") from exc
    return ModuleCertificate.read(certificate)


def _self_signed(private: PrivateKey, name: str) -> x509.Certificate:
    """For code signing only, and no authority: what shim and the kernel's keyrings ask of a module signing key."""
    now = dt.datetime.now(dt.UTC).replace(microsecond=0)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        key_cert_sign=False,
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    public = private.public_key()
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(public)
        .serial_number(x509.random_serial_number())
        .not_valid_before(now)
        .not_valid_after(now + dt.timedelta(days=365 * _YEARS))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(usage, critical=True)
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.CODE_SIGNING]), critical=False)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(public), critical=False)
        .sign(private, hashes.SHA256())
    )


def _load(path: Path, passphrase: bytes) -> PrivateKey:
    data = _read(path)
    mode = path.stat().st_mode & 0o777
    if mode & 0o077:
        raise SignError(f"{path}: mode {mode:04o} lets others at the module signing key", hint=f"chmod 600 {path}")
    try:
        key = serialization.load_pem_private_key(data, passphrase or None)
    except TypeError as exc:  # encrypted and no passphrase, or the other way round
        raise SignError(
            f"{path}: {exc}", hint="a key with a passphrase needs --module-passphrase-fd; one without needs none"
        ) from exc
    except (ValueError, UnsupportedAlgorithm) as exc:
        raise SignError(
            f"{path}: cannot be opened as a private key (PEM)", hint="is the passphrase right, is it a PEM file?"
        ) from exc
    if not isinstance(key, rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey):
        raise SignError(f"{path}: kernels verify RSA and ECDSA signatures of modules, no others")
    return key


def _passphrase(fd: int | None) -> bytes:
    if fd is None:
        return b""
    try:
        return Passphrase.read(fd).secret
    except OSError as exc:
        raise SignError(
            f"file descriptor {fd}: no passphrase can be read: {exc.strerror}", hint="hand it over like this: 3< FILE"
        ) from exc


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as exc:
        raise SignError(f"{path}: {exc.strerror}", hint="repobuild key new-module makes a key") from exc


def _public_bytes(key: object) -> bytes:
    public = cast("rsa.RSAPublicKey", key)
    return public.public_bytes(serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo)
