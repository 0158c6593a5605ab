"""Assemble a driver archive in NVIDIA's layout: makeself, ``kernel/``, ``kernel-open/``, libraries, ``.manifest``.

The archive answers ``--extract-only --target DIR`` as NVIDIA's does, so that the production code runs unchanged. It is
made for tests from files that are on the machine, and is never redistributed. Same input, same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.tools.rpms import file_sha256
from builder.tools.run import run
from tests.lab.lab_patches import LabPatch
from tests.lab.manifest_types import COMPAT32, file_type, symlinks
from tests.lab.uses import hold, prune

FORMAT = 3  # of the archives made here; a new number assembles them again
EPOCH = 1_700_000_000  # seconds; of everything in the archive
ARCHIVES, DAYS = 24, 3.0  # that are kept; what was used in so many days stays in any case
DESCRIPTION = "NVIDIA Accelerated Graphics Driver for Linux-x86_64"
MODULES = "nvidia nvidia-uvm nvidia-modeset nvidia-drm nvidia-peermem"
# Description, version, an unused line, kernel modules, two unused lines, and what older installers read: the kernel
# tree and the folder of precompiled interfaces (nvidia-installer, parse_manifest() in install-from-cwd.c).
_MANIFEST_HEAD = (DESCRIPTION, "{version}", "", MODULES, "", "", "kernel", "precompiled")
_HEADER = Path(__file__).with_name("runfile_header.sh")
_TAR = f"--sort=name --owner=0 --group=0 --numeric-owner --mtime=@{EPOCH}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabDriver:
    """A driver archive of the lab."""

    branch: str
    version: str
    run: Path
    flavors: tuple[str, ...]
    origin: str  # what it was made of, for matrix.yaml's ``read``
    source: Path | None = None  # the open modules' source tarball, where it was asked for and can be had
    archives: tuple[tuple[str, Path], ...] = ()  # what NVIDIA publishes beside it, by kind of source in matrix.yaml
    patches: tuple[LabPatch, ...] = ()  # what its kernel trees need, in order

    @property
    def sha256(self) -> str:
        """Of the archive as it is now."""
        return file_sha256(self.run)


def manifest(tree: Path, version: str) -> str:
    """The ``.manifest`` of an unpacked archive; ValueError for a file no rule knows."""
    lines = [line.format(version=version) for line in _MANIFEST_HEAD]
    for path in sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink()):
        name = path.relative_to(tree).as_posix()
        compat32 = name.startswith(f"{COMPAT32}/")
        library = name.removeprefix(f"{COMPAT32}/")
        lines.append(file_type(library).line(name, path.stat().st_mode & 0o777, compat32=compat32))
        if ".so." in name and "/" not in library:
            lines.extend(symlinks(library, _soname(path), version, compat32=compat32))
    return "\n".join(lines) + "\n"


def _soname(library: Path) -> str | None:
    text = run(["readelf", "-d", library], timeout=60).stdout
    match = re.search(r"\(SONAME\)\s+Library soname: \[([^\]]+)\]", text)
    return match[1] if match else None


def assemble(tree: Path, version: str, output: Path) -> Path:
    """Write the manifest into ``tree`` and make ``output/NVIDIA-Linux-x86_64-<version>.run`` of it."""
    for path in tree.rglob("*"):
        path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
    (tree / ".manifest").write_text(manifest(tree, version))
    (tree / ".manifest").chmod(0o644)
    output.mkdir(parents=True, exist_ok=True)
    name = f"NVIDIA-Linux-x86_64-{version}"
    options = ["--quiet", "--zstd", "--complevel", "3", "--packaging-date", "lab", "--target", name]
    options += ["--header", str(_HEADER), "--tar-extra", _TAR]
    run(
        ["makeself", *options, tree, output / f"{name}.run", f"{DESCRIPTION} {version}", "./nvidia-installer"],
        timeout=900,
        env={"TMPDIR": str(output), "LC_ALL": "C"},
    )
    return output / f"{name}.run"


def cached_run(cache: Path, identity: Sequence[str], version: str, fill: Callable[[Path], None]) -> Path:
    """The archive that ``fill(tree)`` yields, from the cache when the same identity was assembled before."""
    digest = hashlib.sha256("\n".join([f"run {FORMAT}", *identity, version]).encode()).hexdigest()[:32]
    place = cache / "lab/drivers" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # several test processes want it at once: the first makes it
        found = _cached_run(place, version, fill)
        hold(place)
        prune(place.parent, keep=ARCHIVES, days=DAYS)
        return found


def _cached_run(place: Path, version: str, fill: Callable[[Path], None]) -> Path:
    found = place / f"NVIDIA-Linux-x86_64-{version}.run"
    if not found.is_file():
        work = place.with_name(f"{place.name}.new")
        shutil.rmtree(work, ignore_errors=True)
        tree = work / "tree"
        tree.mkdir(parents=True)
        fill(tree)
        assemble(tree, version, work)
        shutil.rmtree(tree)
        shutil.rmtree(place, ignore_errors=True)
        work.rename(place)
    return found


def lab_driver(
    run_path: Path, version: str, flavors: Sequence[str], origin: str, source: Path | None = None
) -> LabDriver:
    """Describe an archive."""
    return LabDriver(
        branch=version.partition(".")[0],
        version=version,
        run=run_path,
        flavors=tuple(flavors),
        origin=origin,
        source=source,
    )


def print_drivers(drivers: Sequence[LabDriver], *, as_json: bool) -> None:
    """Archives on stdout: one JSON document, or a line each."""
    if as_json:
        described = [
            {
                **{k: v for k, v in asdict(d).items() if k not in ("patches", "archives")},
                "run": str(d.run),
                "sha256": d.sha256,
                "source": str(d.source) if d.source else None,
                "patches": [p.path.name for p in d.patches],
            }
            for d in drivers
        ]
        json.dump({"drivers": described}, sys.stdout, indent=1)
        print()
        return
    for driver in drivers:
        print(driver.version, ",".join(driver.flavors), driver.run)
