"""openssl: verify a detached CMS signature with one certificate."""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.tools.run import run

_TIMEOUT = 120.0  # seconds


def cms_fault(data: bytes, signature: bytes, certificate: bytes) -> str | None:
    """Why a detached DER CMS signature over ``data`` is not the certificate's (PEM), None when it is.

    Only the signature counts: module signing knows no chain of trust but the kernel's own keyring.
    """
    with tempfile.TemporaryDirectory(prefix="repobuild-cms-") as tmp:
        paths = {name: Path(tmp) / name for name in ("data", "signature", "certificate")}
        for name, content in (("data", data), ("signature", signature), ("certificate", certificate)):
            paths[name].write_bytes(content)
        argv: list[str | Path] = ["openssl", "cms", "-verify", "-binary", "-inform", "DER", "-in", paths["signature"]]
        argv += ["-content", paths["data"], "-certfile", paths["certificate"], "-nointern", "-noverify"]
        done = run([*argv, "-out", "/dev/null"], timeout=_TIMEOUT, ok=range(256))
    if done.returncode == 0:
        return None
    # Its lines read: thread, "error", code, library, function, reason, file, line, text, joined by colons.
    rows = [line.split(":") for line in done.stderr.splitlines()]
    reasons = [row[5] for row in rows if len(row) > 5]
    return reasons[-1] if reasons else (done.stderr.strip() or "openssl gave no reason")
