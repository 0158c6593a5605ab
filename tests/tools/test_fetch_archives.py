"""Archives beside the .run: their members listed, what is no such archive refused by name."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import SourceError
from builder.fetch import find_archive, read_archive
from builder.model.matrix import Source
from builder.store import Store
from builder.tools.rpms import file_sha256
from tests.golden import sample
from tests.lab.light_archives import members_of, top_of, write_archive
from tests.need import need

V = sample.D535.version


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "work") as opened:
        yield opened


def source(path: Path, kind: str = "fabricmanager") -> Source:
    return Source(kind=kind, arch="x86_64", url=str(path))


def packed(path: Path, *entries: tarfile.TarInfo) -> Path:
    with tarfile.open(path, "w:xz") as archive:
        for entry in entries:
            archive.addfile(entry, io.BytesIO(b"x" * entry.size))
    return path


def entry(name: str, *, link: str = "", kind: bytes = tarfile.REGTYPE) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = (tarfile.SYMTYPE, link) if link else (kind, "")
    return made


@pytest.mark.parametrize("kind", ["fabricmanager", "nscq", "imex"])
def test_every_member_is_listed_and_read_once(kind: str, tmp_path: Path, store: Store) -> None:
    need("gcc")
    path = write_archive(kind, V, tmp_path / "in")
    sha256 = file_sha256(path)
    assert find_archive(sample.D535, source(path, kind), sha256, store) is None
    archive = read_archive(sample.D535, source(path, kind), path, sha256, store)
    assert archive.top == top_of(kind, V)
    assert [(m.path, m.target, m.executable) for m in archive.members] == sorted(members_of(kind, V))
    path.unlink()
    assert find_archive(sample.D535, source(path, kind), sha256, store) == archive
    assert find_archive(sample.D550, source(path, kind), sha256, store) is None


def test_an_archive_of_another_version_is_refused(tmp_path: Path, store: Store) -> None:
    need("gcc")
    path = write_archive("nscq", "550.163.01", tmp_path)
    with pytest.raises(SourceError, match=r"r535, 535\.261\.03.*another version is inside: .*550\.163\.01"):
        read_archive(sample.D535, source(path), path, file_sha256(path), store)


TOP = top_of("fabricmanager", V)


@pytest.mark.parametrize(
    ("entries", "said"),
    [
        ((entry("fabricmanager/bin/x"),), "found fabricmanager"),
        ((entry(f"{TOP}/bin/x"), entry("other/y")), "one folder …-archive is expected on top"),
        ((), "found nothing"),
        ((entry(f"{TOP}/../../etc/passwd"),), "is not a file, folder or symlink inside"),
        ((entry(f"/{TOP}/bin/x"),), "is not a file, folder or symlink inside"),
        ((entry(f"{TOP}/lib/x", link="../../../etc"),), "is not a file, folder or symlink inside"),
        ((entry(f"{TOP}/lib/x", link="/etc"),), "is not a file, folder or symlink inside"),
        ((entry(f"{TOP}/x", kind=tarfile.CHRTYPE),), "is not a file, folder or symlink inside"),
    ],
)
def test_what_is_no_such_archive_is_refused_and_nothing_kept(
    entries: tuple[tarfile.TarInfo, ...], said: str, tmp_path: Path, store: Store
) -> None:
    path = packed(tmp_path / f"{TOP}.tar.xz", *entries)
    sha256 = file_sha256(path)
    with pytest.raises(SourceError, match=said):
        read_archive(sample.D535, source(path), path, sha256, store)
    assert find_archive(sample.D535, source(path), sha256, store) is None


def test_a_damaged_archive_and_a_saved_error_page_are_refused(tmp_path: Path, store: Store) -> None:
    need("gcc")
    path = write_archive("fabricmanager", V, tmp_path)
    path.write_bytes(path.read_bytes()[:2000])
    with pytest.raises(SourceError, match="does not unpack"):
        read_archive(sample.D535, source(path), path, file_sha256(path), store)
    path.write_text("<html>404</html>")
    with pytest.raises(SourceError, match="does not unpack"):
        read_archive(sample.D535, source(path), path, file_sha256(path), store)
