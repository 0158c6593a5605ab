"""Publishing many packages of which few are new: what is known is not read again, and nothing comes out differently."""

from __future__ import annotations

import gzip
import hashlib
import os
import sqlite3
import tempfile
import zlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import createrepo_c
import pytest

from builder.errors import PublishError, VerifyError
from builder.model.cells import Artifact
from builder.model.publication import PublicationContent
from builder.publish import pool, publish, verify, verify_publication
from builder.publish.verify import TURNS
from builder.store import Derived
from builder.tools import blocks, createrepo
from builder.tools.rpms import read_artifact
from builder.tools.rpmsign import signature_faults
from builder.tools.run import run
from tests.need import need
from tests.tools.listed import content_tree, listed_rpms
from tests.tools.many_rpms import make_many, make_template
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, stream

COUNT, NEW = 300, 3
SIGNED = 30


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Small RPMs with names of their own; nobody writes into them."""
    need("rpmbuild", "createrepo_c")
    folder = tmp_path_factory.mktemp("many")
    paths = make_many(make_template(folder / "template", files=3), folder / "rpms", range(COUNT + NEW))
    return [read_artifact(p) for p in paths]


@pytest.fixture(scope="module")
def signed(shop: Shop, many: list[Artifact], tmp_path_factory: pytest.TempPathFactory) -> list[Artifact]:
    """Some of them, signed."""
    return shop.signer.sign_rpms(many[100 : 100 + SIGNED], tmp_path_factory.mktemp("signed"), epoch=EPOCH)


def content(artifacts: list[Artifact]) -> PublicationContent:
    """All of them in one stream."""
    return content_of([(stream("r535-open", default=True, packages=("bench-00100",)), ["535.261.03"], artifacts)])


def put(shop: Shop, artifacts: list[Artifact], repo: Path, derived: Derived | None, *, check: bool = False) -> Path:
    repo.parent.mkdir(exist_ok=True)
    tmp = Path(tempfile.mkdtemp(dir=repo.parent))

    def look(path: Path) -> None:
        verify_publication(path.as_uri(), shop.signer.public_key(), tmp, derived=derived)

    return publish(
        content(artifacts),
        repo,
        public_key=shop.signer.public_key(),
        sign=partial(shop.signer.sign_detached, epoch=EPOCH),
        epoch=EPOCH,
        terms=TERMS,
        derived=derived,
        former=0,
        check=look if check else None,
    ).path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of RPMs that are read by whom: noted, and read all the same."""
    names: list[str] = []

    def noting(function: Callable[..., object]) -> Callable[..., object]:
        def noted(path: Path, *rest: object) -> object:
            names.append(Path(path).name)
            return function(path, *rest)

        return noted

    monkeypatch.setattr(createrepo, "load_package", noting(createrepo.load_package))
    monkeypatch.setattr(pool, "read_artifact", noting(read_artifact))
    return names


def test_rpms_made_of_one_template_are_whole_and_have_names_of_their_own(many: list[Artifact], tmp_path: Path) -> None:
    assert len({str(a.nevra) for a in many}) == COUNT + NEW
    assert len({a.sha256 for a in many}) == COUNT + NEW
    said = run(["rpm", "-qp", "--nosignature", "--list", "--provides", many[7].path], timeout=60).stdout.splitlines()
    assert "/opt/bench/bench-00007/1" in said
    assert "tool(bench-00007) = 1.0" in said
    run(["rpm2archive", "-n", os.fspath(_copy(many[7].path, tmp_path))], timeout=60)


def _copy(path: Path, folder: Path) -> Path:
    copy = folder / path.name
    copy.write_bytes(path.read_bytes())
    return copy


def test_packages_that_come_and_go_give_the_bytes_of_a_publication_from_nothing(
    shop: Shop, many: list[Artifact], tmp_path: Path
) -> None:
    derived = Derived(tmp_path / "derived.sqlite")
    put(shop, many[:COUNT], tmp_path / "repo", derived)
    for now in (many[:COUNT] + many[COUNT + 1 :], many[2:], many[50:150] + many[160:250]):
        path = put(shop, now, tmp_path / "repo", derived)
        whole = put(shop, now, tmp_path / f"whole-{len(now)}/repo", None)
        assert path.name == whole.name
        assert content_tree(path) == content_tree(whole)


def test_metadata_say_what_createrepo_c_says_of_the_same_packages(
    shop: Shop, many: list[Artifact], tmp_path: Path
) -> None:
    derived = Derived()
    put(shop, many[:COUNT], tmp_path / "repo", derived)
    path = put(shop, many[1:], tmp_path / "repo", derived)
    peer = tmp_path / "peer"
    (peer / "Packages/b").mkdir(parents=True)
    for rpm in listed_rpms(path):
        os.link(rpm, peer / "Packages/b" / rpm.name)
    run(["createrepo_c", "--quiet", "--no-database", "--checksum=sha256", peer], timeout=120)
    ours, theirs = described(path), described(peer)
    assert len(ours) == COUNT + NEW - 1
    assert ours == theirs


def described(repo: Path) -> dict[str, dict[str, object]]:
    """All that metadata say of each package, read by createrepo_c's library; not when the file was written."""
    metadata = createrepo_c.Metadata()
    metadata.locate_and_load_xml(str(repo))
    names = [n for n in dir(createrepo_c.Package) if not n.startswith("_")]
    found = {}
    for key in metadata.keys():  # noqa: SIM118  not a mapping
        package = metadata.get(key)
        values = {name: getattr(package, name) for name in names}
        found[key] = {n: v for n, v in values.items() if not callable(v) and n != "time_file"}
    return found


def test_only_new_packages_are_read(shop: Shop, many: list[Artifact], tmp_path: Path, read: list[str]) -> None:
    derived = Derived(tmp_path / "derived.sqlite")
    put(shop, many[:COUNT], tmp_path / "repo", derived)
    assert len(set(read)) == COUNT
    read.clear()
    put(shop, many, tmp_path / "repo", derived)
    assert set(read) == {a.path.name for a in many[COUNT:]}


def test_a_link_of_a_known_package_is_neither_copied_nor_signed_again(
    shop: Shop, many: list[Artifact], tmp_path: Path
) -> None:
    derived = Derived()
    before = put(shop, many[:COUNT], tmp_path / "repo", derived)
    after = put(shop, many, tmp_path / "repo", derived)
    name = f"Packages/b/{many[0].path.name}"
    assert (before / name).stat().st_ino == (after / name).stat().st_ino == many[0].path.stat().st_ino


def test_a_known_package_that_somebody_wrote_to_is_read_again(
    shop: Shop, many: list[Artifact], tmp_path: Path, read: list[str]
) -> None:
    derived = Derived()
    mine = _copy(many[5].path, tmp_path)
    artifacts = [read_artifact(mine) if a is many[5] else a for a in many]
    put(shop, artifacts[:COUNT], tmp_path / "repo", derived)
    read.clear()
    os.utime(mine, ns=(EPOCH, mine.stat().st_mtime_ns + 1))
    put(shop, artifacts[:-1], tmp_path / "repo", derived)
    assert mine.name in read
    data = bytearray(mine.read_bytes())
    data[-1] ^= 1
    mine.write_bytes(data)
    with pytest.raises(PublishError, match=r"bench-00005.*bytes are not those that were signed"):
        put(shop, artifacts, tmp_path / "repo", derived)


def test_damaged_or_lost_memory_changes_nothing_but_the_time(shop: Shop, many: list[Artifact], tmp_path: Path) -> None:
    file = tmp_path / "derived.sqlite"
    derived = Derived(file)
    put(shop, many[:COUNT], tmp_path / "repo", derived)
    derived.close()
    with sqlite3.connect(file) as database:
        database.execute("UPDATE derived SET value = CAST(REPLACE(value, 'bench', 'hench') AS BLOB)")
        database.execute("UPDATE derived SET value = x'00' WHERE kind LIKE '%zlib%'")
    database.close()
    whole = content_tree(put(shop, many, tmp_path / "whole/repo", None))
    derived = Derived(file)
    assert content_tree(put(shop, many, tmp_path / "repo", derived)) == whole
    derived.close()
    file.write_bytes(b"no database" * 1000)
    derived = Derived(file)
    assert derived.count("read") == 0
    assert content_tree(put(shop, many, tmp_path / "again/repo", derived)) == whole


def test_before_a_switch_only_new_packages_are_looked_at_and_some_in_turn(
    shop: Shop, signed: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked: list[str] = []

    def noted(paths: list[Path], keys: Sequence[bytes], tmp: Path) -> dict[Path, str]:
        looked.extend(p.name for p in paths)
        return signature_faults(paths, keys, tmp)

    monkeypatch.setattr(verify, "signature_faults", noted)
    derived = Derived()
    put(shop, signed[:-1], tmp_path / "repo", derived, check=True)
    assert len(looked) == SIGNED - 1
    looked.clear()
    put(shop, signed, tmp_path / "repo", derived, check=True)
    in_turn = {a.path.name for a in signed if int(a.sha256, 16) % TURNS == 1}  # the second time
    assert set(looked) == {a.path.name for a in signed[-1:]} | in_turn
    assert len(looked) < SIGNED / 4


def test_bytes_that_were_lost_without_a_trace_are_found_within_the_turns(
    shop: Shop, signed: list[Artifact], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(verify, "TURNS", 3)
    derived = Derived()
    mine = _copy(signed[5].path, tmp_path)
    artifacts = [read_artifact(mine), *signed[:5]]
    path = put(shop, artifacts, tmp_path / "repo", derived, check=True)
    was = mine.stat()
    data = bytearray(mine.read_bytes())
    data[-1] ^= 1
    mine.write_bytes(data)
    os.utime(mine, ns=(was.st_atime_ns, was.st_mtime_ns))
    found = 0
    for turn in range(3):
        tmp = tmp_path / f"turn-{turn}"
        tmp.mkdir()
        try:
            verify_publication(path.as_uri(), shop.signer.public_key(), tmp, derived=derived)
        except VerifyError as exc:
            assert "bench-00105" in exc.message  # noqa: PT017
            found += 1
    assert found == 1
    (tmp_path / "whole").mkdir()
    with pytest.raises(VerifyError, match="bench-00105"):
        verify_publication(path.as_uri(), shop.signer.public_key(), tmp_path / "whole", derived=None)


def test_a_text_that_comes_makes_one_block_anew_and_the_file_is_one_gzip_member(tmp_path: Path) -> None:
    derived, asked = Derived(), []
    keys = [f"{number:064}" for number in range(5000)]

    def texts(wanted: Sequence[str]) -> dict[str, bytes]:
        asked.append(list(wanted))
        return {key: f"<{key}/>\n".encode() for key in wanted}

    def write(name: str, keys: Sequence[str]) -> blocks.WrittenBlocks:
        ends = (b"<all>\n", b"</all>\n")
        with ThreadPoolExecutor() as beside:
            made = blocks.blocks_of(keys)
            return blocks.write_blocks(tmp_path / name, "kind", made, texts, ends, derived, beside).result()

    write("a.gz", keys)
    assert len(asked[0]) == len(keys)
    more = [*keys[:2500], "x", *keys[2500:]]
    said = write("b.gz", more)
    assert "x" in asked[1]
    assert len(asked) == 2
    assert len(asked[1]) < 20 * blocks.TEXTS
    text = "<all>\n" + "".join(f"<{key}/>\n" for key in more) + "</all>\n"
    packed = (tmp_path / "b.gz").read_bytes()
    assert gzip.decompress(packed).decode() == text
    assert (said.sha256, said.size) == (hashlib.sha256(packed).hexdigest(), len(packed))
    assert (said.open_sha256, said.open_size) == (hashlib.sha256(text.encode()).hexdigest(), len(text))
    member = zlib.decompressobj(zlib.MAX_WBITS | 16)
    assert member.decompress((tmp_path / "b.gz").read_bytes()).decode() == text
    assert member.eof
    assert not member.unused_data
