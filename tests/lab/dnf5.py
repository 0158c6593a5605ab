"""dnf5 from a later release of the host's archive: a root to enter by chroot, and what plugins are compiled with."""

from __future__ import annotations

import hashlib
import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import CACHE, NEXT, Archive

PACKAGES = ("base-files", "coreutils", "dash", "dnf5", "rpm")
DEVEL = ("libdnf5-dev", "libfmt-dev")


def make_dnf5(cache: Path = CACHE) -> Path | None:
    """A root with dnf5 and rpm, made once for a version of its packages; None where the archive has no dnf5.

    Raises LabUnavailableError where there is no such archive at all.
    """
    archive = _archive(cache)
    found = archive.candidates(["dnf5"])["dnf5"]
    if not found:
        return None
    debs = archive.download_closure(PACKAGES, found[0].suite)
    return _unpacked("dnf5", debs, cache / "later")


def make_libdnf5_devel(root: Path, cache: Path = CACHE) -> dict[str, str]:
    """What the host's compiler is told to compile a plugin for the libdnf5 of ``root`` (from ``make_dnf5``).

    Environment variables of gcc. The headers alone are downloaded: the host's g++ and its older C++ library do, because
    what they make runs with a newer one too.
    """
    archive = _archive(cache)
    newest = {name: found[0].version for name, found in archive.candidates(DEVEL).items() if found}
    debs = archive.download([f"{name}={version}" for name, version in newest.items()])
    devel = _unpacked("libdnf5-devel", sorted(debs.values()), cache / "later")
    (library,) = root.glob("usr/lib/*/libdnf5.so.2")
    link = devel / "lib/libdnf5.so"
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(library)
    return {"CPATH": str(devel / "usr/include"), "LIBRARY_PATH": str(link.parent)}


def _archive(cache: Path) -> Archive:
    archive = Archive(cache / "later", later=lambda suite: NEXT.get(NEXT.get(suite, ""), ""), sources=False)
    archive.update()
    return archive


def _unpacked(name: str, debs: Sequence[Path], folder: Path) -> Path:
    """The content of packages as one folder, made once for their versions."""
    digest = hashlib.sha256("\n".join(deb.name for deb in debs).encode()).hexdigest()[:16]
    root = folder / f"{name}-{digest}"
    if not root.is_dir():
        fresh = Path(tempfile.mkdtemp(dir=folder))
        for deb in debs:
            run(["dpkg-deb", "-x", deb, fresh], timeout=120)
        for old in folder.glob(f"{name}-*"):
            shutil.rmtree(old)
        fresh.chmod(0o755)
        fresh.rename(root)
    return root
