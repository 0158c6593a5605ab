"""A store that machines share: in a folder and in S3, what arrives is whole or refused, and nothing waits for it."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import s3fs

from builder.errors import SharedStoreError
from builder.model.cells import Artifact, BuildResult
from builder.model.nevra import Evr, Nevra
from builder.store import Place, PlaceError, SharedStore, Store, open_place
from builder.store.objects import read_description, sha256_of
from builder.store.places import FolderPlace
from tests.s3 import SECRET, make_bucket, s3_server

BUCKET = "builds"


@dataclass
class Site:
    """A place with its URL, and what was warned of."""

    url: str
    warnings: list[str] = field(default_factory=list)
    opened: dict[str, Place] = field(default_factory=dict)  # a client of S3 takes a while to be made

    def place(self) -> Place:
        if self.url not in self.opened:
            self.opened[self.url] = open_place(self.url)
        return self.opened[self.url]

    def shared(self, place: Place | None = None, *, required: bool = False) -> SharedStore:
        shared = SharedStore(place or self.place(), self.url, self.warnings.append, required=required)
        shared.connect(make=True)
        return shared

    def machine(self, folder: Path, place: Place | None = None) -> Store:
        return Store.open(folder, shared=self.shared(place))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch, running: dict[str, str]) -> None:
    """The environment of the running server."""
    for name, value in running.items():
        monkeypatch.setenv(name, value)


@pytest.fixture(scope="module")
def running() -> Iterator[dict[str, str]]:
    """The environment of a server with a bucket."""
    with s3_server() as server, pytest.MonkeyPatch.context() as patch:
        for name, value in server.environment.items():
            patch.setenv(name, value)
        make_bucket(BUCKET)
        yield server.environment
    s3fs.S3FileSystem.clear_instance_cache()


@pytest.fixture(params=["folder", "s3"])
def site(request: pytest.FixtureRequest, tmp_path: Path) -> Site:
    if request.param == "folder":
        (tmp_path / "share").mkdir()
        return Site(url=(tmp_path / "share").as_uri())
    request.getfixturevalue("server")
    return Site(url=f"s3://{BUCKET}/{tmp_path.name}")


def add(store: Store, key: str = "k1", data: bytes = b"rpm", *, scope: str = "scope", serial: int = 1) -> BuildResult:
    def fill(folder: Path) -> BuildResult:
        rpm = folder / "p.rpm"
        rpm.write_bytes(data)
        (folder / "logs").mkdir()
        (folder / "logs/build.log").write_text("words")
        (folder / "logs/build.log").chmod(0o755)
        nevra = Nevra(name="p", evr=Evr(version="1", release=str(serial)), arch="x86_64")
        artifact = Artifact(nevra=nevra, path=rpm, size=len(data), sha256=sha256_of(rpm))
        return BuildResult(
            key=key, unit_id=scope, artifacts=(artifact,), source=None, folder=folder, seconds=1.5, serial=serial,
            content="c",
        )  # fmt: skip

    return store.add_result(key, scope, 1.5, fill)


def _filled(name: str, data: bytes) -> Callable[[Path], None]:
    def fill(folder: Path) -> None:
        (folder / name).write_bytes(data)

    return fill


def data_of(site: Site, key: str, path: str) -> str:
    """Name of the bytes of an object's file."""
    description = site.place().read(f"objects/results/{key}.json")
    assert description is not None
    return next(file.data for file in read_description(description, "results", key) if file.path == path)


def test_a_place_holds_files_that_are_whole_or_absent(site: Site, tmp_path: Path) -> None:
    place = site.place()
    assert (place.read("a/one"), place.size("a/one"), place.names("a")) == (None, None, frozenset())
    assert not place.fetch("a/one", tmp_path / "got")
    assert place.create("a/one", b"1")
    assert not place.create("a/one", b"2")
    assert place.read("a/one") == b"1"
    (tmp_path / "file").write_bytes(b"12345")
    place.put(tmp_path / "file", "a/b/two")
    place.put(b"three", "a/one")
    assert place.fetch("a/b/two", tmp_path / "got")
    assert (tmp_path / "got").read_bytes() == b"12345"
    assert place.size("a/b/two") == 5
    assert place.names("a") == {"one", "b/two"}
    assert place.read_all(["a/one", "a/b/two", "a/none"]) == {"a/one": b"three", "a/b/two": b"12345"}
    assert place.read_all(["a/one"]) == {"a/one": b"three"}


def test_of_many_writers_of_one_name_one_succeeds(site: Site) -> None:
    place = site.place()
    with ThreadPoolExecutor(8) as pool:
        made = list(pool.map(lambda number: place.create("serials/x/1", str(number).encode()), range(8)))
    assert sum(made) == 1
    assert place.read("serials/x/1") == str(made.index(True)).encode()


def test_a_second_machine_takes_what_the_first_finished(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a") as first:
        result = add(first)
        first.put_folder("modules", "m1", _filled("nvidia.ko.zst", b"module"))
        first.put_folder("signed", "s1", _filled("p.rpm", b"signed"))
        first.put_folder("roots", "r1", lambda folder: (folder / "root").mkdir())
    with Store.open(tmp_path / "b", exclusive=False, shared=site.shared()) as reader:
        assert reader.has("results", "k1")
        assert reader.result("k1") is None  # who only looks takes nothing
    with site.machine(tmp_path / "b") as second:
        assert not second.here("results", "k1")
        taken = second.result("k1")
        assert taken is not None
        assert [a.sha256 for a in taken.artifacts] == [a.sha256 for a in result.artifacts]
        assert os.access(taken.folder / "logs/build.log", os.X_OK)
        assert second.ledger.keys_of("scope") == ("k1",)
        modules = second.folder("modules", "m1")
        assert modules is not None
        assert (modules / "nvidia.ko.zst").read_bytes() == b"module"
        assert [second.folder(kind, key) for kind, key in (("signed", "s1"), ("roots", "r1"))] == [None, None]
        assert second.shared is not None
        assert (second.shared.taken, second.shared.given) == (2, 0)
    assert site.warnings == []


def _flip(site: Site) -> None:
    site.place().put(b"rPm", data_of(site, "k1", "p.rpm"))


def _truncate(site: Site) -> None:
    site.place().put(b"rp", data_of(site, "k1", "p.rpm"))


def _describe(site: Site, change: Callable[[dict[str, object]], None]) -> None:
    name = "objects/results/k1.json"
    document = json.loads(site.place().read(name) or b"")
    change(document)
    site.place().put(json.dumps(document).encode(), name)


def _climb(site: Site) -> None:
    _describe(site, lambda document: document["files"][0].update(path="../../../escaped"))  # type: ignore[index]


def _lose(site: Site) -> None:
    _describe(site, lambda document: document["files"][0].update(sha256="0" * 64))  # type: ignore[index]


def _swap(site: Site) -> None:
    """The whole object of another key under this one's name."""
    _describe(site, lambda document: document.update(key="k2"))


def _tear(site: Site) -> None:
    site.place().put((site.place().read("objects/results/k1.json") or b"")[:40], "objects/results/k1.json")


@pytest.mark.parametrize("damage", [_flip, _truncate, _climb, _lose, _swap, _tear])
def test_a_damaged_object_is_refused_told_built_again_and_mended(
    site: Site, tmp_path: Path, damage: Callable[[Site], None]
) -> None:
    with site.machine(tmp_path / "a") as first:
        add(first)
    damage(site)
    with site.machine(tmp_path / "b") as second:
        assert second.has("results", "k1")
        assert second.result("k1") is None
        assert not second.has("results", "k1")
        assert not (tmp_path / "escaped").exists()
        assert len(site.warnings) == 1
        assert "results k1 is damaged in the shared store and not used: " in site.warnings[0]
        assert list((tmp_path / "b/tmp").iterdir()) == []
        add(second)
    with site.machine(tmp_path / "c") as third:
        assert third.result("k1") is not None
    assert len(site.warnings) == 1


def test_a_result_of_another_key_is_refused(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a") as first:
        result = add(first)
        assert first.shared is not None
        first.shared.give("results", "k2", result.folder)
    with site.machine(tmp_path / "b") as second:
        assert second.result("k2") is None
    assert "k2 is damaged" in site.warnings[0]
    assert "it is the result of k1" in site.warnings[0]


class Dying:
    """A place whose writer is killed, or whose server goes away, after some writes."""

    def __init__(self, place: Place, writes: int) -> None:
        self._place = place
        self.left = writes

    def __getattr__(self, name: str) -> object:
        if name in ("put", "create"):
            self.left -= 1
        if self.left < 0:
            raise PlaceError("gone")
        return getattr(self._place, name)


@pytest.mark.parametrize("writes", [2, 3, 4, 5])
def test_an_interrupted_upload_is_no_object_and_the_next_run_ends_it(site: Site, tmp_path: Path, writes: int) -> None:
    with site.machine(tmp_path / "a", Dying(site.place(), writes)) as first:  # type: ignore[arg-type]
        assert add(first).key == "k1"  # 2 writes for the store itself, one for each of 3 files, one for the description
    assert "cannot give results k1: gone" in site.warnings[0]
    with site.machine(tmp_path / "b") as second:
        assert second.result("k1") is None
    with site.machine(tmp_path / "a") as first:
        assert first.folder("results", "k1") is not None
        first.give_used()
    with site.machine(tmp_path / "b") as second:
        assert second.result("k1") is not None


def test_a_writer_that_is_killed_while_it_copies_leaves_no_object(tmp_path: Path) -> None:
    (tmp_path / "share").mkdir()
    site = Site(url=(tmp_path / "share").as_uri())
    child = os.fork()
    if child == 0:  # the real thing, but for the moment of its death
        shutil.copyfile = _half_a_copy_and_death  # type: ignore[assignment]
        add(site.machine(tmp_path / "a"))
        os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert len(list((tmp_path / "share/tmp").iterdir())) == 1
    assert [list((tmp_path / "share").glob(name)) for name in ("objects/*/*", "data/*/*")] == [[], []]
    with site.machine(tmp_path / "b") as second:
        assert second.result("k1") is None
    with site.machine(tmp_path / "a") as first:
        assert first.folder("results", "k1") is not None  # it was whole here before it was given
        first.give_used()
    with site.machine(tmp_path / "b") as second:
        assert second.result("k1") is not None


def _half_a_copy_and_death(source: Path, target: Path) -> Path:
    target.write_bytes(source.read_bytes()[:1])
    os.kill(os.getpid(), signal.SIGKILL)
    return target


def test_a_server_that_stops_midway_costs_nothing_and_gets_the_rest_when_it_is_back(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        make_bucket(BUCKET)
        site = Site(url=f"s3://{BUCKET}/midway")
        with site.machine(tmp_path / "a") as first:
            add(first, "k0")
            server.stop()
            for number in range(1, 5):
                assert add(first, f"k{number}").key == f"k{number}"
        assert len(site.warnings) == 3
        assert "this run goes on without it" in site.warnings[-1]
        server.start()
        with site.machine(tmp_path / "a") as first:
            assert all(first.result(f"k{number}") is not None for number in range(5))
            first.give_used()
        with site.machine(tmp_path / "b") as second:
            assert all(second.result(f"k{number}") is not None for number in range(5))
            assert second.shared is not None
            assert second.shared.taken == 5
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_store_that_goes_away_is_warned_of_and_left_alone_after_three_failures(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a", Dying(site.place(), 2)) as first:  # type: ignore[arg-type]
        for number in range(6):
            assert add(first, f"k{number}").key == f"k{number}"
            assert first.serials.serial(f"scope{number}", "c") == 1
    assert len(site.warnings) == 3
    assert [("goes on without it" in text) for text in site.warnings] == [False, False, True]


def test_a_required_store_that_goes_away_is_an_error(site: Site, tmp_path: Path) -> None:
    dying = Dying(site.place(), 2)
    shared = site.shared(dying, required=True)  # type: ignore[arg-type]
    with Store.open(tmp_path / "a", shared=shared) as store, pytest.raises(SharedStoreError, match="cannot give"):
        add(store)
    with pytest.raises(SharedStoreError, match="cannot reach it"):
        site.shared(dying, required=True)  # type: ignore[arg-type]


def test_two_machines_that_finish_the_same_at_once_end_with_one_object(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a") as first, site.machine(tmp_path / "b") as second:
        assert first.result("k1") is second.result("k1") is None
        with ThreadPoolExecutor(2) as pool:
            results = list(pool.map(add, (first, second)))
        assert all(result.folder.is_dir() for result in results)
    with site.machine(tmp_path / "c") as third:
        assert third.result("k1") is not None
    assert site.warnings == []


def test_other_bytes_of_the_same_key_are_told(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a") as first, site.machine(tmp_path / "b") as second:
        assert second.result("k1") is None
        add(first)
        add(second, data=b"RPM")
    assert site.warnings == ["p.rpm: another machine built other bytes of the same key k1; both are kept"]


def test_a_serial_stands_for_one_content_on_all_machines(site: Site, tmp_path: Path) -> None:
    with site.machine(tmp_path / "a") as first, site.machine(tmp_path / "b") as second:
        assert [first.serials.serial("s", content) for content in ("x", "y")] == [1, 2]
        assert [second.serials.serial("s", content) for content in ("y", "z")] == [2, 3]
    with site.machine(tmp_path / "c") as third:
        assert third.serials.peek("s", "z") == 3
        assert third.serials.peek("s", "new") == 4
        assert third.serials.serial("s", "z") == 3
    with Store.open(tmp_path / "d", exclusive=False, shared=site.shared()) as reader:
        assert reader.serials.peek("s", "z") == 3


def test_two_contents_that_ask_for_one_serial_at_once_get_two(site: Site, tmp_path: Path) -> None:
    stores = [site.machine(tmp_path / str(number)) for number in range(4)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda number: stores[number].serials.serial("s", f"content {number}"), range(4)))
    for store in stores:
        store.close()
    assert sorted(found) == [1, 2, 3, 4]


def test_a_serial_used_while_the_store_was_away_gives_way_to_one_that_was_claimed(site: Site, tmp_path: Path) -> None:
    with Store.open(tmp_path / "a") as alone:
        assert alone.serials.serial("s", "mine") == 1
        assert alone.serials.serial("t", "mine") == 1
    with site.machine(tmp_path / "b") as other:
        assert other.serials.serial("s", "theirs") == 1
    with site.machine(tmp_path / "a") as back:
        assert back.serials.serial("s", "mine") == 2
        assert back.serials.serial("t", "mine") == 1
    with site.machine(tmp_path / "b") as other:
        assert other.serials.peek("s", "mine") == 2
        assert other.serials.peek("t", "other") == 2


def test_a_machine_with_a_history_brings_its_serials_along(site: Site, tmp_path: Path) -> None:
    with Store.open(tmp_path / "a") as alone:
        assert [alone.serials.serial("scope", content) for content in ("old", "older", "c")] == [1, 2, 3]
        add(alone, serial=3)
    with site.machine(tmp_path / "a") as first:
        assert first.result("k1") is not None
        first.give_used()
    with site.machine(tmp_path / "b") as second:
        assert second.serials.peek("scope", "c") == 3
        assert second.result("k1") is not None


def test_a_storage_without_conditional_writes_is_refused(tmp_path: Path) -> None:
    class Careless(FolderPlace):
        def create(self, name: str, data: bytes, *, lasting: bool = True) -> bool:  # noqa: ARG002  as in Place
            self.put(data, name)
            return True

    with pytest.raises(SharedStoreError, match="ignores conditional writes"):
        Site(url="file:///x").shared(Careless(tmp_path))


def test_a_store_of_another_version_is_refused(site: Site) -> None:
    site.place().put(b'{"format": 2, "id": "x"}', "repobuild-store.json")
    with pytest.raises(SharedStoreError, match="version 2"):
        site.shared()


def test_a_folder_that_is_not_mounted_is_no_empty_store(tmp_path: Path) -> None:
    site = Site(url=(tmp_path / "share").as_uri())
    assert not site.shared().usable
    assert "is not there: make it, or mount it; this run goes on without it" in site.warnings[0]
    assert not (tmp_path / "share").exists()


@pytest.mark.usefixtures("server")
def test_a_bucket_or_server_that_is_not_there_is_told_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    site = Site(url="s3://no-such-bucket/builds")
    assert not site.shared().usable
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://127.0.0.1:9/{SECRET}")
    s3fs.S3FileSystem.clear_instance_cache()
    away = Site(url=f"s3://{BUCKET}/x", warnings=site.warnings)
    assert not away.shared().usable
    s3fs.S3FileSystem.clear_instance_cache()
    assert [text.partition(":")[0] for text in site.warnings] == ["cannot reach it", "cannot reach it"]
    assert SECRET not in "".join(site.warnings)


@pytest.mark.parametrize(
    "url",
    ["relative/folder", "http://host/x", "file://host/x", "s3://", "s3://key:hidden@bucket/x", "s3://b/x?key=hidden"],
)
def test_what_is_no_place_is_refused_and_credentials_are_not_repeated(url: str) -> None:
    with pytest.raises(SharedStoreError) as found:
        open_place(url)
    assert "hidden" not in found.value.message
