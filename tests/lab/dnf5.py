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


def put_dnf5(root: Path, client: Path) -> None:
    """dnf5 and its rpm from ``root`` (of ``make_dnf5``) in place of those that a client's root has.

    They run with libraries of their own, below /opt; what they run, scriptlets above all, is the client's.
    """
    place = Path("opt/dnf5")
    (client / place / "usr").mkdir(parents=True)
    for name in ("bin", "lib", "lib64", "share"):
        run(["cp", "-a", root / "usr" / name, client / place / "usr"], timeout=300)
    libraries = next(root.glob("usr/lib/*/libdnf5.so.2")).parent.relative_to(root)
    (loader,) = root.glob("usr/lib64/ld-linux*")
    start = f"/{place / loader.relative_to(root)} --library-path /{place / libraries} /{place}/usr/bin"
    for name, program in (("dnf", "dnf5"), ("rpm", "rpm"), ("rpmkeys", "rpmkeys")):
        wrapper = client / "usr/bin" / name
        wrapper.unlink()
        wrapper.write_text(f'#!/bin/sh\nRPM_CONFIGDIR=/{place}/usr/lib/rpm exec {start}/{program} "$@"\n')
        wrapper.chmod(0o755)


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
