"""dnf5 from a later release of the host's archive: a root to enter by chroot."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import CACHE, NEXT, Archive

PACKAGES = ("base-files", "coreutils", "dash", "dnf5", "rpm")


def make_dnf5(cache: Path = CACHE) -> Path | None:
    """A root with dnf5 and rpm, made once for a version of its packages; None where the archive has no dnf5.

    Raises LabUnavailableError where there is no such archive at all.
    """
    archive = Archive(cache / "later", later=lambda suite: NEXT.get(NEXT.get(suite, ""), ""), sources=False)
    archive.update()
    found = archive.candidates(["dnf5"])["dnf5"]
    if not found:
        return None
    debs = archive.download_closure(PACKAGES, found[0].suite)
    digest = hashlib.sha256("\n".join(deb.name for deb in debs).encode()).hexdigest()[:16]
    root = cache / "later" / f"dnf5-{digest}"
    if not root.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=root.parent))
        for deb in debs:
            run(["dpkg-deb", "-x", deb, fresh], timeout=120)
        for old in root.parent.glob("dnf5-*"):
            shutil.rmtree(old)
        fresh.chmod(0o755)
        fresh.rename(root)
    return root
