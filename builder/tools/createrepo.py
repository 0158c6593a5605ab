"""Repository metadata through createrepo_c's own library, and module documents through the libmodulemd it carries.

Written for EL7 and early EL8 too: gz (createrepo_c ≥ 1.0 would take zstd), sha256, no sqlite. Everything that could
hold a clock is set from the epoch given, so the same packages give the same bytes.
"""

from __future__ import annotations

import gzip
import tempfile
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import createrepo_c

from builder.errors import ToolError
from builder.model.nevra import Evr, Nevra
from builder.store import Derived
from builder.tools.blocks import WrittenBlocks, blocks_of, write_blocks
from builder.tools.rpms import file_sha256
from builder.tools.run import run, which

_CHANGELOGS = 10  # entries a package, as createrepo_c's own default
_MAKER = f"createrepo_c {createrepo_c.VERSION}"  # another may say the same in other words
_BATCH = 500  # RPMs whose texts are held before they are kept
_WRITERS = {
    "primary": createrepo_c.PrimaryXmlFile,
    "filelists": createrepo_c.FilelistsXmlFile,
    "other": createrepo_c.OtherXmlFile,
}
_DUMPS = {
    "primary": createrepo_c.xml_dump_primary,
    "filelists": createrepo_c.xml_dump_filelists,
    "other": createrepo_c.xml_dump_other,
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
    known: Mapping[str, str] | None = None,
    derived: Derived | None = None,
) -> Path:
    """Write ``repodata/`` for the RPMs of a folder, one modules document file and one updateinfo.xml (None: none).

    Returns repomd.xml.
    ``known`` gives the sha256 of files by href. What ``derived`` holds of such a file is taken from there and the file
    is not read: whoever says it vouches for the bytes. Byte-identical for equal input, whatever is held.
    Raises ToolError naming a file that is no RPM, or that is another than ``known`` says.
    """
    derived = Derived() if derived is None else derived
    repodata = folder / "repodata"
    repodata.mkdir(mode=0o755)
    described = _Described(folder, known or {}, derived)
    blocks = blocks_of([described.key(href) for href in sorted(hrefs)])
    records = []
    with ThreadPoolExecutor(max_workers=1) as beside:
        large = {}
        for kind in _WRITERS:
            path, texts = repodata / f"{kind}.xml.gz", partial(described.texts, kind)
            ends = _ends(kind, len(hrefs))
            large[kind] = path, write_blocks(path, f"{kind} {_MAKER}", blocks, texts, ends, derived, beside)
        for kind, (path, writing) in large.items():
            records.append(_record_of(kind, path, writing.result(), epoch))
    for kind, name, data in (("modules", "modules.yaml", modules), ("updateinfo", "updateinfo.xml", updateinfo)):
        if data is not None:
            path = repodata / f"{name}.gz"
            with gzip.GzipFile(path, "wb", mtime=0) as file:
                file.write(data)
            records.append(_record(kind, path, epoch))
    repomd = createrepo_c.Repomd()
    repomd.set_revision(str(epoch))
    for record in records:
        repomd.set_record(record)
    repomd.sort_records()
    written = repodata / "repomd.xml"
    written.write_text(repomd.xml_dump())
    return written


class _Described:
    """What metadata say of each RPM of a folder. An RPM's key is its sha256 and its href: they determine the text."""

    def __init__(self, folder: Path, known: Mapping[str, str], derived: Derived) -> None:
        self.folder = folder
        self.known = known
        self.derived = derived

    def key(self, href: str) -> str:
        """By which the texts of an RPM are kept."""
        return f"{self.known.get(href) or file_sha256(self.folder / href)} {href}"

    def texts(self, kind: str, keys: Sequence[str]) -> dict[str, bytes]:
        """The texts of these keys in the file of that kind; RPMs of which none is kept are read."""
        found = self.derived.get(f"{kind} {_MAKER}", keys)
        absent = [key for key in keys if key not in found]
        for start in range(0, len(absent), _BATCH):
            made: dict[str, dict[str, bytes]] = {each: {} for each in _WRITERS}
            for key in absent[start : start + _BATCH]:
                sha256, _, href = key.partition(" ")
                package = load_package(self.folder / href, href)
                if package.pkgId != sha256:
                    raise ToolError(f"{self.folder / href}: its bytes are not those that were signed")
                for each, dump in _DUMPS.items():
                    made[each][key] = dump(package).encode()
            for each, values in made.items():
                self.derived.put(f"{each} {_MAKER}", values)
            found |= made[kind]
        return found


def _ends(kind: str, packages: int) -> tuple[bytes, bytes]:
    """What createrepo_c writes before the first package of a file and after the last."""
    with tempfile.TemporaryDirectory() as tmp:
        path = Path(tmp) / "empty"
        writer = _WRITERS[kind](str(path), createrepo_c.NO_COMPRESSION)
        writer.set_num_of_pkgs(packages)
        writer.close()
        text = path.read_bytes()
    end = text.rindex(b"</")
    return text[:end], text[end:]


def _record(kind: str, path: Path, epoch: int) -> createrepo_c.RepomdRecord:
    record = createrepo_c.RepomdRecord(kind, str(path))
    record.fill(createrepo_c.SHA256)
    return _named(record, epoch)


def _record_of(kind: str, path: Path, written: WrittenBlocks, epoch: int) -> createrepo_c.RepomdRecord:
    """As ``_record``, which would read the whole file and unpack it again."""
    record = createrepo_c.RepomdRecord(kind, str(path))
    record.checksum_type = record.checksum_open_type = "sha256"
    record.checksum, record.size = written.sha256, written.size
    record.checksum_open, record.size_open = written.open_sha256, written.open_size
    return _named(record, epoch)


def _named(record: createrepo_c.RepomdRecord, epoch: int) -> createrepo_c.RepomdRecord:
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
