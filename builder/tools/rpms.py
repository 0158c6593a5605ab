"""Read RPM files: headers through createrepo_c, payload members through rpm2archive."""

from __future__ import annotations

import hashlib
import tarfile
import tempfile
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

import createrepo_c

from builder.errors import ToolError
from builder.model.cells import Artifact
from builder.model.nevra import Evr, Nevra
from builder.tools.run import run

_UNPACK_TIMEOUT = 600.0  # seconds
_FLAGS = {"EQ": "=", "LT": "<", "GT": ">", "LE": "<=", "GE": ">="}


@dataclass(frozen=True, slots=True, kw_only=True)
class RpmHeader:
    """What an RPM's header says. Dependencies read as in a spec: ``name``, ``name >= E:V-R`` or a rich expression."""

    nevra: Nevra
    summary: str
    vendor: str
    license: str
    source_rpm: str  # "" for a source package
    build_time: int  # seconds since the epoch
    build_host: str
    requires: tuple[str, ...]  # as createrepo_c lists them: without rpmlib() and what the package itself provides
    provides: tuple[str, ...]
    conflicts: tuple[str, ...]
    obsoletes: tuple[str, ...]
    recommends: tuple[str, ...]
    suggests: tuple[str, ...]
    supplements: tuple[str, ...]
    enhances: tuple[str, ...]
    files: tuple[str, ...]  # absolute paths, sorted; folders and ghosts included


def file_sha256(path: Path) -> str:
    """sha256 of a file's bytes, read as a stream."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_artifact(path: Path) -> Artifact:
    """Identity of an RPM: NEVRA from its header, size and sha256 of its bytes. Raises ToolError for no RPM."""
    package = _package(path)
    return Artifact(nevra=_nevra(package), path=path.absolute(), size=path.stat().st_size, sha256=str(package.pkgId))


def read_header(path: Path) -> RpmHeader:
    """Everything repobuild wants to know of an RPM's header. Raises ToolError for no RPM."""
    package = _package(path)
    return RpmHeader(
        nevra=_nevra(package),
        summary=package.summary or "",
        vendor=package.rpm_vendor or "",
        license=package.rpm_license or "",
        source_rpm=package.rpm_sourcerpm or "",
        build_time=int(package.time_build),
        build_host=package.rpm_buildhost or "",
        requires=_dependencies(package.requires),
        provides=_dependencies(package.provides),
        conflicts=_dependencies(package.conflicts),
        obsoletes=_dependencies(package.obsoletes),
        recommends=_dependencies(package.recommends),
        suggests=_dependencies(package.suggests),
        supplements=_dependencies(package.supplements),
        enhances=_dependencies(package.enhances),
        files=tuple(sorted(folder + name for _kind, folder, name, *_rest in package.files)),
    )


def extract_members(rpm: Path, members: Collection[str]) -> dict[str, bytes]:
    """Bytes of regular files in an RPM's payload, by absolute path; members that are not there are left out.

    rpm2archive reads every payload compression its rpm knows, and what it writes is a plain tar.
    Raises ToolError when the file is not an RPM or its payload is damaged.
    """
    wanted = {_plain(member): member for member in members}
    found: dict[str, bytes] = {}
    with tempfile.TemporaryDirectory(dir=rpm.parent, prefix=".payload-") as tmp:
        link = Path(tmp) / "payload.rpm"
        link.symlink_to(rpm.absolute())
        run(["rpm2archive", "-n", link], timeout=_UNPACK_TIMEOUT)
        try:
            with tarfile.open(Path(tmp) / "payload.rpm.tar", "r|") as archive:
                for entry in archive:
                    member = wanted.get(_plain(entry.name))
                    content = archive.extractfile(entry) if member is not None and entry.isreg() else None
                    if member is not None and content is not None:
                        found[member] = content.read()
                    if len(found) == len(wanted):
                        break
        except (tarfile.TarError, EOFError, OSError) as exc:
            raise ToolError(f"{rpm}: its payload cannot be read: {exc}") from exc
    return found


def rpm_file_member(rpm: Path, member: str) -> bytes:
    """Bytes of one file of an RPM's payload; raises ToolError when the RPM has no such regular file."""
    found = extract_members(rpm, (member,))
    if member not in found:
        raise ToolError(f"{rpm}: has no file {member}")
    return found[member]


def _plain(member: str) -> str:
    return member.removeprefix(".").lstrip("/")


def _package(path: Path) -> createrepo_c.Package:
    try:
        return createrepo_c.package_from_rpm(str(path), createrepo_c.SHA256)
    except (createrepo_c.CreaterepoCError, OSError) as exc:
        raise ToolError(f"{path}: cannot be read as an RPM: {exc}") from exc


def _nevra(package: createrepo_c.Package) -> Nevra:
    evr = Evr(epoch=int(package.epoch or 0), version=package.version, release=package.release)
    return Nevra(name=package.name, evr=evr, arch=package.arch)


def _dependencies(
    records: Iterable[tuple[str, str | None, str | None, str | None, str | None, bool]],
) -> tuple[str, ...]:
    """createrepo_c's (name, flags, epoch, version, release, pre) records as a spec writes them."""
    texts = []
    for name, flags, epoch, version, release, *_pre in records:
        if name.startswith("rpmlib("):
            continue
        sign = _FLAGS.get(flags or "")
        head = f"{epoch}:" if epoch and epoch != "0" else ""
        tail = f"-{release}" if release else ""
        texts.append(f"{name} {sign} {head}{version}{tail}" if sign else name)
    return tuple(texts)
