"""One signing key at work. Signatures are a function of key, bytes and epoch (ADR 0008)."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from pathlib import Path

from builder.errors import SignError, ToolError, ToolMissingError
from builder.model.cells import Artifact
from builder.sign.keys import check_mode, choose_key
from builder.store.files import os_failure
from builder.tools.gpg import (
    Passphrase,
    SecretKey,
    detach_sign,
    detached_fault,
    export_public,
    private_home,
    secret_keys,
)
from builder.tools.machine import processors
from builder.tools.rpms import file_sha256
from builder.tools.rpmsign import add_signatures, signature_faults
from builder.tools.run import tail

_FEW = 8  # files that are not worth an agent of their own


class Signer:
    """Signs copies of RPMs, and metadata; whatever it returns was verified with the public key only."""

    def __init__(self, gnupghome: Path, key: SecretKey, public_key: bytes, passphrase: Passphrase) -> None:
        self._gnupghome = gnupghome
        self._key = key
        self._public_key = public_key
        self._passphrase = passphrase

    @classmethod
    def open(cls, gnupghome: Path, fingerprint: str | None = None, passphrase_fd: int | None = None) -> Signer:
        """Find the key; ``fingerprint`` (or its end) is needed only where a home has several.

        A passphrase is read once from its descriptor. Raises SignError when no usable key fits.
        """
        passphrase = Passphrase.read(passphrase_fd) if passphrase_fd is not None else Passphrase(secret=b"")
        check_mode(gnupghome)
        try:
            with private_home(gnupghome) as home:
                key = choose_key(secret_keys(home), fingerprint, gnupghome)
                public_key = export_public(home, key.fingerprint)
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise SignError(f"{gnupghome}: gpg cannot read the keys", details=exc.details) from exc
        return cls(gnupghome, key, public_key, passphrase)

    @property
    def fingerprint(self) -> str:
        """Of the primary key: what clients trust."""
        return self._key.fingerprint

    def public_key(self) -> bytes:
        """The public key, armored."""
        return self._public_key

    def signature_time(self, epoch: int) -> int:
        """The time a signature carries: never before the key was made, or verifiers would refuse it."""
        return max(epoch, self._key.created)

    def sign_rpms(self, artifacts: Sequence[Artifact], folder: Path, *, epoch: int) -> list[Artifact]:
        """Signed copies in ``folder``, in the order given; the originals are not touched.

        Raises SignError naming every file that is unsigned, altered or signed by another key afterwards.
        """
        copies = [folder / artifact.nevra.filename for artifact in artifacts]
        try:
            for artifact, copy in zip(artifacts, copies, strict=True):
                if copy.exists():
                    raise SignError(f"{copy.name}: two RPMs of that file name are to be signed")
                shutil.copyfile(artifact.path, copy)
        except OSError as exc:
            raise os_failure(exc, folder) from exc
        with tempfile.TemporaryDirectory(dir=folder) as aside:
            logs = self._sign_beside(copies, Path(aside), epoch)
            faults = signature_faults(copies, (self._public_key,), Path(aside))
            if faults:
                raise SignError(
                    f"{next(iter(faults)).name}: not signed by {self.fingerprint} after signing"
                    + (f" ({len(faults)} files are not)" if len(faults) > 1 else ""),
                    details=[
                        *(f"{path.name}: {fault}" for path, fault in faults.items()),
                        *(line for log in logs for line in tail(log)),
                    ],
                )
        return [
            Artifact(nevra=artifact.nevra, path=copy, size=copy.stat().st_size, sha256=file_sha256(copy))
            for artifact, copy in zip(artifacts, copies, strict=True)
        ]

    def _sign_beside(self, copies: Sequence[Path], aside: Path, epoch: int) -> list[Path]:
        """Sign copies, some on each processor: an agent makes one signature at a time. Returns the logs."""
        lanes = 1 if self._key.on_card else max(1, min(processors(), len(copies) // _FEW))
        logs = [aside / f"rpmsign-{lane}.log" for lane in range(lanes)]
        with ThreadPoolExecutor(lanes) as pool:
            parts = [
                pool.submit(copy_context().run, self._add_signatures, copies[lane::lanes], log, epoch)
                for lane, log in enumerate(logs)
            ]
        for part in parts:
            part.result()
        return logs

    def _add_signatures(self, copies: Sequence[Path], log: Path, epoch: int) -> None:
        time = self.signature_time(epoch)
        try:
            with private_home(self._gnupghome) as home:
                add_signatures(copies, home, self._key, epoch=time, passphrase=self._passphrase, log=log)
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise SignError(
                f"{copies[0].name}: rpmsign failed with key {self.fingerprint}",
                details=exc.details,
                hint="a key with a passphrase needs --passphrase-fd",
            ) from exc

    def made(self, signature: bytes, data: Path) -> bool:
        """Whether this key made that detached signature over a file."""
        with tempfile.TemporaryDirectory() as aside:
            written = Path(aside) / "signature.asc"
            written.write_bytes(signature)
            return detached_fault(self._public_key, data, written) is None

    def sign_detached(self, data: Path, *, epoch: int) -> bytes:
        """An armored signature over a file, verified with the public key only; raises SignError."""
        time = self.signature_time(epoch)
        try:
            with private_home(self._gnupghome) as home:
                signature = detach_sign(home, self._key, data, epoch=time, passphrase=self._passphrase)
        except ToolMissingError:
            raise
        except ToolError as exc:
            raise SignError(
                f"{data.name}: gpg cannot sign with key {self.fingerprint}",
                details=exc.details,
                hint="a key with a passphrase needs --passphrase-fd",
            ) from exc
        with tempfile.TemporaryDirectory() as aside:
            written = Path(aside) / "signature.asc"
            written.write_bytes(signature)
            fault = detached_fault(self._public_key, data, written)
        if fault is not None:
            raise SignError(f"{data.name}: {fault}, though {self.fingerprint} just signed it")
        return signature
