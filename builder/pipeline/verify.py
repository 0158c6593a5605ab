"""Verify any publication by its location, with public keys only."""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.publish import IntegrityReport, SeenFile, SiteReport, is_site, verify_integrity, verify_site


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifiedSite:
    """A whole repository that was found whole, for people and JSON."""

    report: SiteReport

    def document(self) -> dict[str, object]:
        """As JSON."""
        manifest = self.report.manifest
        return {
            "files": len(manifest.files),
            "sequence": manifest.sequence,
            "issued": manifest.issued,
            "expires": manifest.expires,
            "key": manifest.key,
            "publications": [Verified(report=one).document() for one in self.report.publications],
        }

    def lines(self) -> list[str]:
        """For people."""
        manifest = self.report.manifest
        number = f"number {manifest.sequence} of the repository, issued {manifest.issued}"
        return [
            *(line for one in self.report.publications for line in Verified(report=one).lines()),
            f"ok: {len(manifest.files)} files beside {len(manifest.publications)} publications",
            f"{number}, to be believed until {manifest.expires}",
        ]


@dataclass(frozen=True, slots=True, kw_only=True)
class Verified:
    """What was found whole, for people and JSON."""

    report: IntegrityReport

    def document(self) -> dict[str, object]:
        """As JSON."""
        manifest, content = self.report.manifest, self.report.content
        return {
            **(content.counts() if content else {}),
            "distribution": manifest.distribution,
            "arch": manifest.arch,
            "files": len(manifest.files),
            "publication": manifest.publication,
            "sequence": manifest.sequence,
            "issued": manifest.issued,
            "expires": manifest.expires,
            "key": manifest.key,
            "quick": content is None,
            "part_of": manifest.part_of,
        }

    def lines(self) -> list[str]:
        """For people."""
        manifest, content = self.report.manifest, self.report.content
        counts = content.counts() if content else {"files listed, not read": len(manifest.files)}
        of = f"{manifest.distribution}/{manifest.arch}"
        of += f", in part: what a bundle took of {manifest.part_of[:12]}" if manifest.part_of else ""
        return [
            "ok: " + ", ".join(f"{value} {name}" for name, value in counts.items()),
            f"number {manifest.sequence} of {of}, issued {manifest.issued}, to be believed until {manifest.expires}",
        ]


def default_state() -> Path:
    """Where what was seen is kept unless told otherwise (XDG Base Directory Specification)."""
    state = os.environ.get("XDG_STATE_HOME")
    return (Path(state) if state else Path.home() / ".local/state") / "repobuild/seen.json"


def verify(
    location: str,
    key_files: Sequence[Path],
    with_repos: Sequence[str] = (),
    *,
    quick: bool = False,
    state: Path | None = None,
    forget: bool = False,
) -> Verified | VerifiedSite:
    """Look at a repository as a client would, and at its manifest; raises VerifyError with every fault.

    The top of a repository, where it has a signed list, is looked at with all its publications.

    ``state`` is the file that remembers what was seen; None: nothing is known and nothing kept. With ``forget`` it
    knows nothing of this place when the look begins.
    """
    seen = SeenFile(state) if state is not None else None
    url = _url(location)
    if seen is not None and forget:
        seen.forget(url.rstrip("/"))
    keys = [path.read_bytes() for path in key_files]
    repos = [_url(repo) for repo in with_repos]
    with tempfile.TemporaryDirectory() as tmp:
        now, folder = int(time.time()), Path(tmp)
        if is_site(url, folder):
            site = verify_site(url, keys, folder, now=now, seen=seen, quick=quick, with_repos=repos)
            return VerifiedSite(report=site)
        report = verify_integrity(url, keys, folder, now=now, seen=seen, quick=quick, with_repos=repos)
    return Verified(report=report)


def _url(location: str) -> str:
    path = Path(location)
    return path.absolute().as_uri() if path.exists() else location
