"""Who signs the kernel modules of a run, if anybody."""

from __future__ import annotations

from pathlib import Path
from threading import Lock
from typing import TYPE_CHECKING

from builder.errors import SignError
from builder.model.sources import KernelDevel
from builder.pipeline.settings import Settings

if TYPE_CHECKING:
    from builder.sign.modules import ModuleCertificate, ModuleSigner

UNSIGNED = "unsigned"


class ModuleSigning:
    """The certificate, known from the start, and the key, opened when the first module is to be signed."""

    def __init__(self, settings: Settings) -> None:
        if settings.module_key is not None and settings.module_cert is None:
            raise SignError(
                "a module signing key needs its certificate",
                hint="give it with --module-cert; repobuild key new-module makes both",
            )
        self._settings = settings
        self._lock = Lock()
        self._signer: ModuleSigner | None = None
        self.certificate = None if settings.module_cert is None else _read(settings.module_cert)

    @property
    def identity(self) -> str:
        """What the keys of kmod packages tell signers apart by."""
        return self.certificate.fingerprint if self.certificate else UNSIGNED

    @property
    def name(self) -> str | None:
        """The signer's common name."""
        return self.certificate.name if self.certificate else None

    def signer(self) -> ModuleSigner | None:
        """Open the key, once; None where modules are not signed. Raises SignError."""
        if self.certificate is None:
            return None
        with self._lock:
            if self._signer is None:
                from builder.sign.modules import ModuleSigner  # noqa: PLC0415  as below

                key = self._settings.module_key or _beside(self._settings.module_cert)
                self._signer = ModuleSigner.open(self.certificate, key, self._settings.module_passphrase_fd)
            return self._signer

    def fault(self, devel: KernelDevel) -> str | None:
        """Why a kernel cannot verify this signer's signatures, None when it can or when nobody signs."""
        if self.certificate is not None and self.certificate.ecdsa and devel.ecdsa is False:
            return f"kernel {devel.release} cannot verify ECDSA signatures (CONFIG_CRYPTO_ECDSA is off)"
        return None


def _read(certificate: Path) -> ModuleCertificate:
    from builder.sign.modules import ModuleCertificate  # noqa: PLC0415  cryptography, which most runs need not

    return ModuleCertificate.read(certificate)


def _beside(certificate: Path | None) -> str:
    assert certificate is not None  # noqa: S101  asked only where there is one
    key = certificate.with_suffix(".key")
    if not key.is_file():
        raise SignError(
            f"{certificate}: its key is needed to sign modules",
            hint=f"give it with --module-key (a PEM file or a pkcs11: URI), or put it into {key}",
        )
    return str(key)
