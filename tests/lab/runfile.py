"""Assemble a driver archive in NVIDIA's layout: makeself, ``kernel/``, ``kernel-open/``, libraries, ``.manifest``.

The archive answers ``--extract-only --target DIR`` as NVIDIA's does, so that the production code runs unchanged. It is
made for tests from files that are on the machine, and is never redistributed. Same input, same bytes.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from builder.tools.run import run

FORMAT = 2  # of the archives made here; a new number assembles them again
EPOCH = 1_700_000_000  # seconds; of everything in the archive
DESCRIPTION = "NVIDIA Accelerated Graphics Driver for Linux-x86_64"
MODULES = "nvidia nvidia-uvm nvidia-modeset nvidia-drm nvidia-peermem"
_HEADER = Path("/usr/share/makeself/makeself-header.sh")
# Which manifest type a file's name gets (nvidia-installer's manifest.c); first match counts.
_TYPES: Sequence[tuple[str, str, str]] = (
    (r"gsp_\w+\.bin", "FIRMWARE", "MODULE:gsp"),
    (r"libcuda(debugger)?\.so.*", "CUDA_LIB", "NATIVE ./ MODULE:opengl"),
    (r"libnvidia-(ptxjitcompiler|nvvm)\.so.*", "CUDA_LIB", "NATIVE ./ MODULE:opengl"),
    (r"libnvidia-(ml|cfg)\.so.*", "UTILITY_LIB", "NATIVE MODULE:utils"),
    (r"libnvidia-encode\.so.*", "ENCODEAPI_LIB", "NATIVE MODULE:opengl"),
    (r"libnvcuvid\.so.*", "NVCUVID_LIB", "NATIVE MODULE:opengl"),
    (r"nvidia-(smi|debugdump|cuda-mps-.*)", "UTILITY_BINARY", "MODULE:utils"),
    (r"nvidia-smi\.1\.gz", "MANPAGE", "MODULE:utils"),
    (r"LICENSE|README.*|.*_Changelog", "DOCUMENTATION", "./ MODULE:installer"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabDriver:
    """A driver archive of the lab."""

    branch: str
    version: str
    run: Path
    flavors: tuple[str, ...]
    origin: str  # what it was made of, for matrix.yaml's ``read``


def manifest(tree: Path, version: str) -> str:
    """The ``.manifest`` of an unpacked archive; ValueError for a file no rule knows."""
    lines = [DESCRIPTION, version, "", MODULES, "", "", "", ""]
    for path in sorted(p for p in tree.rglob("*") if p.is_file() and not p.is_symlink()):
        relative = path.relative_to(tree).as_posix()
        mode = f"{path.stat().st_mode & 0o777:04o}"
        top = relative.split("/")[0]
        if top in ("kernel", "kernel-open"):
            depth = "INHERIT_PATH_DEPTH:1"
            lines.append(f"{relative} {mode} KERNEL_MODULE_SRC {depth} MODULE:{top}")
            continue
        kind, words = next(((k, w) for pattern, k, w in _TYPES if re.fullmatch(pattern, path.name)), ("", ""))
        if not kind:
            raise ValueError(f"{relative}: no manifest type known for it")
        lines.append(f"{relative} {mode} {kind} {words}")
        if kind.endswith("_LIB"):
            lines.extend(_links(path, version, kind, words))
    return "\n".join(lines) + "\n"


def _links(library: Path, version: str, kind: str, words: str) -> list[str]:
    """Symlink entries: the soname to the file, and the development name to the soname for libcuda and libnvidia-ml."""
    soname = _soname(library)
    if soname is None or soname == library.name:
        return []
    first, *rest = words.split()
    folder = [w for w in rest if not w.startswith("MODULE:")]
    module = [w for w in rest if w.startswith("MODULE:")]
    symlink = kind.removesuffix("_LIB") + "_SYMLINK" if kind == "CUDA_LIB" else f"{kind}_SYMLINK"
    stem = library.name.removesuffix(f".{version}")
    pairs = [(soname, library.name)] + ([(stem, soname)] if stem.endswith(".so") and stem != soname else [])
    return [" ".join([name, "0000", symlink, first, *folder, target, *module]) for name, target in pairs]


def _soname(library: Path) -> str | None:
    text = run(["readelf", "-d", library], timeout=60).stdout
    match = re.search(r"\(SONAME\)\s+Library soname: \[([^\]]+)\]", text)
    return match[1] if match else None


def assemble(tree: Path, version: str, output: Path) -> Path:
    """Write the manifest into ``tree`` and make ``output/NVIDIA-Linux-x86_64-<version>.run`` of it."""
    (tree / ".manifest").write_text(manifest(tree, version))
    for path in [tree, *tree.rglob("*")]:
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or os.access(path, os.X_OK) else 0o644)
            os.utime(path, (EPOCH, EPOCH))
    output.mkdir(parents=True, exist_ok=True)
    header = output / "header.sh"
    header.write_text(_nvidia_header(_HEADER.read_text()))
    target = output / f"NVIDIA-Linux-x86_64-{version}.run"
    tar = f"--sort=name --owner=0 --group=0 --numeric-owner --mtime=@{EPOCH} --format=gnu"
    options = ["--quiet", "--gzip", "--complevel", "1", "--nox11", "--sha256", "--packaging-date", "lab"]
    title = f"{DESCRIPTION} {version}"
    run(
        ["makeself", *options, "--header", header, "--tar-extra", tar, tree, target, title, "true"],
        timeout=900,
        env={"TMPDIR": str(output), "TAR_OPTIONS": tar, "GZIP": "-n", "SHELL": "/bin/sh"},
    )
    header.unlink()
    return target


def _nvidia_header(text: str) -> str:
    """makeself's header with NVIDIA's own spelling of "unpack, run nothing"."""
    found = re.subn(r"^([ \t]*)--noexec\)$", r"\1--extract-only | -x | --noexec)", text, flags=re.MULTILINE)
    if found[1] != 1:
        raise ValueError(f"{_HEADER}: not the makeself header this lab understands")
    return found[0]


def cached_run(cache: Path, identity: Sequence[str], version: str, fill: object) -> Path:
    """The archive that ``fill(tree)`` yields, from the cache when the same identity was assembled before."""
    digest = hashlib.sha256("\n".join([f"run {FORMAT}", *identity, version]).encode()).hexdigest()[:32]
    place = cache / "lab/drivers" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    with (place.parent / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        return _cached_run(place, version, fill)


def _cached_run(place: Path, version: str, fill: object) -> Path:
    found = place / f"NVIDIA-Linux-x86_64-{version}.run"
    if not found.is_file():
        assert callable(fill)
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
