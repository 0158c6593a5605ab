"""Repository metadata through createrepo_c's own library, and module documents through the libmodulemd it carries.

Written for EL7 and early EL8 too: gz (createrepo_c ≥ 1.0 would take zstd), sha256, no sqlite. Everything that could
hold a clock is set from the epoch given, so the same packages give the same bytes.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import createrepo_c

from builder.errors import ToolError
from builder.model.nevra import Evr, Nevra
from builder.tools.run import run, which

_CHANGELOGS = 10  # entries a package, as createrepo_c's own default
_WRITERS = {
    "primary": createrepo_c.PrimaryXmlFile,
    "filelists": createrepo_c.FilelistsXmlFile,
    "other": createrepo_c.OtherXmlFile,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class MetadataRecord:
    """One file that repomd.xml names."""

    type: str  # primary, filelists, other, modules …
    href: str  # relative to the repository
    sha256: str
    size: int | None  # bytes
    open_sha256: str | None  # of the uncompressed bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedPackage:
    """One package as primary.xml lists it."""

    nevra: Nevra
    href: str  # relative to the repository
    sha256: str
    size: int  # bytes
    requires: tuple[str, ...]  # as rpm prints them


def write_metadata(
    folder: Path,
    hrefs: Sequence[str],
    modules: bytes | None,
    *,
    epoch: int,
    updateinfo: bytes | None = None,
    loaded: dict[str, createrepo_c.Package] | None = None,
) -> Path:
    """Write ``repodata/`` for the RPMs of a folder, one modules document file and one updateinfo.xml (None: none).

    Returns repomd.xml.
    ``loaded`` keeps what was read of an RPM, by href, for folders that share theirs. Byte-identical for equal input.
    Raises ToolError naming a file that is no RPM.
    """
    loaded = {} if loaded is None else loaded
    repodata = folder / "repodata"
    repodata.mkdir(mode=0o755)
    ordered = sorted(hrefs)
    paths = {kind: repodata / f"{kind}.xml.gz" for kind in _WRITERS}
    writers = {kind: writer(str(paths[kind]), createrepo_c.GZ_COMPRESSION) for kind, writer in _WRITERS.items()}
    for writer in writers.values():
        writer.set_num_of_pkgs(len(ordered))
    for href in ordered:
        package = loaded.get(href) or loaded.setdefault(href, load_package(folder / href, href))
        for writer in writers.values():
            writer.add_pkg(package)
    for writer in writers.values():
        writer.close()
    for kind, name, data in (("modules", "modules.yaml", modules), ("updateinfo", "updateinfo.xml", updateinfo)):
        if data is not None:
            paths[kind] = repodata / f"{name}.gz"
            with gzip.GzipFile(paths[kind], "wb", mtime=0) as file:
                file.write(data)
    repomd = createrepo_c.Repomd()
    repomd.set_revision(str(epoch))
    for kind, path in paths.items():
        repomd.set_record(_record(kind, path, epoch))
    repomd.sort_records()
    written = repodata / "repomd.xml"
    written.write_text(repomd.xml_dump())
    return written


def _record(kind: str, path: Path, epoch: int) -> createrepo_c.RepomdRecord:
    record = createrepo_c.RepomdRecord(kind, str(path))
    record.fill(createrepo_c.SHA256)
    record.rename_file()  # its sha256 before its name: caches can keep it for ever
    record.set_timestamp(epoch)
    return record


def load_package(path: Path, href: str) -> createrepo_c.Package:
    """An RPM's header for metadata; the file's own time is its build time, wherever the file was copied to."""
    try:
        package = createrepo_c.package_from_rpm(
            str(path), checksum_type=createrepo_c.SHA256, location_href=href, changelog_limit=_CHANGELOGS
        )
    except (createrepo_c.CreaterepoCError, OSError) as exc:
        raise ToolError(f"{path}: cannot be read as an RPM: {exc}") from exc
    package.time_file = package.time_build
    return package


def read_repomd(path: Path) -> tuple[MetadataRecord, ...]:
    """The records of a repomd.xml, in its order; raises ToolError when it is none."""
    try:
        records = createrepo_c.Repomd(str(path)).records
    except (createrepo_c.CreaterepoCError, OSError) as exc:
        raise ToolError(f"{path.name}: not a repomd.xml: {exc}") from exc
    return tuple(
        MetadataRecord(
            type=record.type,
            href=record.location_href,
            sha256=record.checksum if record.checksum_type == "sha256" else "",
            size=record.size if record.size > 0 else None,
            open_sha256=record.checksum_open or None,
        )
        for record in records
    )


def read_primary(path: Path) -> tuple[ListedPackage, ...]:
    """The packages of a primary.xml[.gz], in its order; raises ToolError when it cannot be read."""
    found: list[Any] = []
    try:
        createrepo_c.xml_parse_primary(str(path), pkgcb=found.append, do_files=False)
    except (createrepo_c.CreaterepoCError, OSError) as exc:
        raise ToolError(f"{path.name}: not package metadata: {exc}") from exc
    return tuple(
        ListedPackage(
            nevra=nevra_of(package),
            href=package.location_href,
            sha256=package.pkgId,
            size=int(package.size_package),
            requires=tuple(_dependency(r) for r in package.requires),
        )
        for package in found
    )


def nevra_of(package: createrepo_c.Package) -> Nevra:
    """Identity of a loaded package."""
    evr = Evr(epoch=int(package.epoch or 0), version=package.version, release=package.release)
    return Nevra(name=package.name, evr=evr, arch=package.arch)


def _dependency(record: tuple[str, str | None, str | None, str | None, str | None, bool]) -> str:
    name, flag, epoch, version, release, _pre = record
    sign = {"EQ": "=", "LT": "<", "GT": ">", "LE": "<=", "GE": ">="}.get(flag or "")
    if not sign:
        return name
    return f"{name} {sign} {f'{epoch}:' if epoch else ''}{version}{f'-{release}' if release else ''}"


def modulemd_fault(modules: bytes) -> str | None:
    """What libmodulemd, the strict reader of clients and mirrors, says against module documents; None: nothing.

    The createrepo_c of the wheel reads a modules.yaml in the folder it indexes; ``modulemd-validator`` is taken where
    createrepo_c comes from a distribution that built it without.
    """
    bundled = Path(createrepo_c.__file__).parent / "data/bin/createrepo_c"
    with tempfile.TemporaryDirectory() as tmp:
        document = Path(tmp) / "modules.yaml"
        document.write_bytes(modules)
        if bundled.is_file():
            done = run((bundled, "--quiet", "--no-database", tmp), timeout=120, ok=range(256))
        elif which("modulemd-validator"):
            done = run(("modulemd-validator", document), timeout=120, ok=range(256))
        else:
            done = run(("createrepo_c", "--quiet", "--no-database", tmp), timeout=120, ok=range(256))
    if done.returncode == 0:
        return None
    lines = [line.replace(f"{tmp}/", "") for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "; ".join(lines[-3:]) or f"exit code {done.returncode}"
