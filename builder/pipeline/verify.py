"""Verify any publication by its location, with a public key only."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.publish import verify_publication


def verify(location: str, key_file: Path, with_repos: Sequence[str] = ()) -> dict[str, int]:
    """Look at a repository as a client would; raises VerifyError with every fault, returns counts."""
    with tempfile.TemporaryDirectory() as tmp:
        report = verify_publication(
            _url(location), key_file.read_bytes(), Path(tmp), with_repos=[_url(r) for r in with_repos]
        )
    return report.counts()


def _url(location: str) -> str:
    path = Path(location)
    return path.absolute().as_uri() if path.exists() else location
