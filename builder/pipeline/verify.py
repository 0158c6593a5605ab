"""Verify any publication by its location, with a public key only."""

from __future__ import annotations

import tempfile
from pathlib import Path

from builder.publish import verify_publication


def verify(location: str, key_file: Path) -> dict[str, int]:
    """Look at a repository as a client would; raises VerifyError with every fault, returns counts."""
    path = Path(location)
    url = path.absolute().as_uri() if path.exists() else location
    with tempfile.TemporaryDirectory() as tmp:
        report = verify_publication(url, key_file.read_bytes(), Path(tmp))
    return report.counts()
