"""Make a driver archive ready for packaging: unpack, check that it is that driver, pack deterministic tarballs.

What comes out lies in the store under the archive's sha256, so each archive is unpacked once.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from builder.errors import SourceError, ToolError, ToolMissingError
from builder.fetch.gpus import PATH as GPUS_PATH
from builder.fetch.gpus import parse_gpus
from builder.fetch.manifest import Manifest, is_symlink, parse_manifest
from builder.fetch.tarballs import is_file, is_folder, newest_mtime, write_tarball
from builder.model.matrix import Driver, Flavor
from builder.model.sources import DriverSources, Gpu, KernelObject, ManifestEntry, SourceFile
from builder.store import Store
from builder.tools.rpms import file_sha256
from builder.tools.runfile import extract_runfile

FORMAT = 3  # of what is stored; a new number prepares every archive again
KERNEL_TREES: Mapping[Flavor, str] = {Flavor.PROPRIETARY: "kernel", Flavor.OPEN: "kernel-open"}
_INDEX = "sources.json"
OBJECT_SUFFIX = ".o_binary"
_HEAD = 256  # bytes looked at before an archive is run


def find_prepared(driver: Driver, arch: str, run_sha256: str, store: Store) -> DriverSources | None:
    """What ``prepare_driver`` made of that archive before; None when it did not, or the archive is another driver."""
    folder = store.folder("prepared", _key(run_sha256))
    if folder is None:
        return None
    sources = _read(folder)
    return sources if (sources.driver_version, sources.arch) == (driver.version, arch) else None


def prepare_driver(driver: Driver, arch: str, run_path: Path, run_sha256: str, store: Store) -> DriverSources:
    """Tarballs and manifest of a driver archive, from the store when it was prepared before.

    Raises SourceError, with the archive's own words, for a file that is truncated, no driver, another version, or
    without the kernel tree of a flavor that the matrix wants; then nothing is kept.
    """
    where = f"{run_path.name} (r{driver.branch}, {driver.version})"

    def fill(folder: Path) -> None:
        _require_script(run_path, where)
        with store.tmp() as tmp:
            tree = _unpack(run_path, tmp, where)
            manifest = _checked_manifest(driver, tree, where)
            sources = _pack(driver, arch, tree, manifest, folder)
        (folder / _INDEX).write_text(json.dumps(_document(sources), indent=1, sort_keys=True))

    sources = _read(store.put_folder("prepared", _key(run_sha256), fill))
    if (sources.driver_version, sources.arch) != (driver.version, arch):
        raise _other_version(where, f"{sources.driver_version} for {sources.arch}", f"{driver.version} for {arch}")
    return sources


def _key(run_sha256: str) -> str:
    return hashlib.sha256(f"driver {FORMAT} {run_sha256}".encode()).hexdigest()


def _require_script(run_path: Path, where: str) -> None:
    """Refuse what cannot be a self-extracting archive before any of it is run."""
    with run_path.open("rb") as file:
        head = file.read(_HEAD)
    if not head.startswith(b"#!"):
        line = head.splitlines()[0][:80].decode(errors="backslashreplace") if head.strip() else "(empty)"
        raise SourceError(
            f"{where}: not a driver archive",
            details=[f"it starts with: {line}"],
            hint="check the source's url in matrix.yaml; a login or error page may have been saved in its place",
        )


def _unpack(run_path: Path, tmp: Path, where: str) -> Path:
    try:
        return extract_runfile(run_path, tmp)
    except ToolMissingError:
        raise
    except ToolError as exc:
        raise SourceError(
            f"{where}: does not unpack",
            details=[line for line in exc.details if line.strip()],
            hint="the archive is truncated or damaged, or not a driver: remove its pin, fetch and pin it again",
        ) from exc


def _checked_manifest(driver: Driver, tree: Path, where: str) -> Manifest:
    listing = tree / ".manifest"
    if not is_file(listing):
        names = sorted(p.name for p in tree.iterdir())[:10]
        raise SourceError(
            f"{where}: unpacks, but is no NVIDIA driver (it has no .manifest)",
            details=[f"it holds: {', '.join(names) or 'nothing'}"],
            hint="check the source's url in matrix.yaml",
        )
    manifest = parse_manifest(listing.read_text(errors="replace"), where)
    if manifest.version != driver.version:
        raise _other_version(where, f"{manifest.version} ({manifest.description})", driver.version)
    missing = [
        e.path
        for e in manifest.entries
        if not is_symlink(e.type) and not (is_file(tree / e.path) or (tree / e.path).is_symlink())
    ]
    if missing:
        raise SourceError(
            f"{where}: {len(missing)} of {len(manifest.entries)} files of its .manifest are not in it",
            details=missing[:20],
            hint="the archive is truncated or damaged: remove its pin, fetch and pin it again",
        )
    for flavor in driver.flavors:
        if not is_folder(tree / KERNEL_TREES[flavor]):
            raise SourceError(
                f"{where}: has no {KERNEL_TREES[flavor]}/, so no {flavor} modules",
                hint=f"take {flavor} out of this driver's flavors in matrix.yaml",
            )
    return manifest


def _other_version(where: str, inside: str, wanted: str) -> SourceError:
    return SourceError(
        f"{where}: another driver is inside: {inside}",
        details=[f"inside: {inside}", f"wanted: {wanted}"],
        hint="correct the driver's version or its url in matrix.yaml",
    )


def _pack(driver: Driver, arch: str, tree: Path, manifest: Manifest, folder: Path) -> DriverSources:
    epoch = newest_mtime(tree)
    trees = frozenset(KERNEL_TREES.values())
    present = [(f, name) for f, name in KERNEL_TREES.items() if is_folder(tree / name)]

    def pack(stem: str, source: Path, leave_out: frozenset[str]) -> SourceFile:
        path = folder / f"{stem}-{arch}.tar.gz"
        sha256, size = write_tarball(path, source, stem, leave_out=leave_out, mtime=epoch)
        return SourceFile(filename=path.name, path=path, sha256=sha256, size=size)

    with ThreadPoolExecutor(max_workers=len(present) + 1) as pool:  # zlib works outside the interpreter's lock
        kernels = [
            (f, pool.submit(pack, f"nvidia-kmod-{driver.version}-{f}", tree / n, frozenset())) for f, n in present
        ]
        userspace = pool.submit(pack, f"nvidia-driver-{driver.version}", tree, trees)
        return DriverSources(
            driver_version=driver.version,
            arch=arch,
            kernel_trees=tuple((flavor, made.result()) for flavor, made in kernels),
            objects=tuple((flavor, _keep_objects(tree / n, folder, flavor)) for flavor, n in present),
            userspace=userspace.result(),
            manifest=tuple(e for e in manifest.entries if e.path.split("/")[0] not in trees),
            source_date_epoch=epoch,
            gpus=_gpus(tree, f"driver {driver.version}"),
        )


def _gpus(tree: Path, where: str) -> tuple[Gpu, ...]:
    path = tree / GPUS_PATH
    return parse_gpus(path.read_text(errors="replace"), where) if is_file(path) else ()


def _keep_objects(tree: Path, folder: Path, flavor: Flavor) -> tuple[KernelObject, ...]:
    """Copies of the objects that a module's folder holds: ``nvidia/nv-kernel.o_binary`` belongs to nvidia.ko."""
    kept = []
    for path in sorted(tree.glob(f"*/*{OBJECT_SUFFIX}")):
        if is_file(path):
            copy = folder / f"objects-{flavor}" / path.name
            copy.parent.mkdir(exist_ok=True)
            shutil.copyfile(path, copy)
            kept.append(
                KernelObject(
                    module=path.parent.name,
                    filename=path.name,
                    path=copy,
                    sha256=file_sha256(copy),
                    size=copy.stat().st_size,
                )
            )
    return tuple(kept)


def _document(sources: DriverSources) -> dict[str, object]:
    def file(source: SourceFile) -> dict[str, object]:
        return {"filename": source.filename, "sha256": source.sha256, "size": source.size}

    return {
        "driver_version": sources.driver_version,
        "arch": sources.arch,
        "kernel_trees": {flavor.value: file(source) for flavor, source in sources.kernel_trees},
        "objects": {
            flavor.value: [
                {"module": o.module, "filename": o.filename, "sha256": o.sha256, "size": o.size} for o in objects
            ]
            for flavor, objects in sources.objects
        },
        "userspace": file(sources.userspace),
        "manifest": [asdict(entry) for entry in sources.manifest],
        "source_date_epoch": sources.source_date_epoch,
        "gpus": [asdict(gpu) for gpu in sources.gpus],
    }


def _read(folder: Path) -> DriverSources:
    document = json.loads((folder / _INDEX).read_text())

    def file(source: dict[str, str]) -> SourceFile:
        return SourceFile(
            filename=source["filename"],
            path=folder / source["filename"],
            sha256=source["sha256"],
            size=int(source["size"]),
        )

    return DriverSources(
        driver_version=document["driver_version"],
        arch=document["arch"],
        kernel_trees=tuple(
            (flavor, file(document["kernel_trees"][flavor])) for flavor in Flavor if flavor in document["kernel_trees"]
        ),
        objects=tuple(
            (
                Flavor(flavor),
                tuple(KernelObject(**o, path=folder / f"objects-{flavor}" / o["filename"]) for o in objects),
            )
            for flavor, objects in sorted(document["objects"].items())
        ),
        userspace=file(document["userspace"]),
        manifest=tuple(ManifestEntry(**entry) for entry in document["manifest"]),
        source_date_epoch=document["source_date_epoch"],
        gpus=tuple(Gpu(**gpu) for gpu in document["gpus"]),
    )
