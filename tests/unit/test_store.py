"""The store: a folder is whole or absent, one writer at a time, a crash or a lost ledger loses nothing."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from threading import Thread

import pytest

from builder.errors import LockedError, StoreError
from builder.model.cells import Artifact, BuildResult
from builder.model.nevra import Evr, Nevra
from builder.store import Failure, Store

NEVRA = Nevra(name="p", evr=Evr(version="1", release="1"), arch="x86_64")


def _nothing(_folder: Path) -> None:
    """Fill a folder with nothing."""


def add_result(store: Store, key: str = "k1", *, serial: int = 1, content: str = "c1") -> BuildResult:
    def fill(folder: Path) -> BuildResult:
        (folder / "p.rpm").write_bytes(b"rpm")
        artifact = Artifact(nevra=NEVRA, path=folder / "p.rpm", size=3, sha256="0" * 64)
        return BuildResult(
            key=key, unit_id="scope", artifacts=(artifact,), source=None, folder=folder, seconds=1.5, serial=serial,
            content=content,
        )  # fmt: skip

    return store.add_result(key, "scope", 1.5, fill)


def test_a_folder_whose_filling_fails_is_not_there(tmp_path: Path) -> None:
    def fill(folder: Path) -> None:
        (folder / "half").write_text("x")
        raise RuntimeError("stop")

    with Store.open(tmp_path) as store:
        with pytest.raises(RuntimeError, match="stop"):
            store.put_folder("prepared", "k", fill)
        assert store.folder("prepared", "k") is None
        assert list((tmp_path / "tmp").iterdir()) == []


def test_a_folder_is_filled_once(tmp_path: Path) -> None:
    calls: list[Path] = []
    with Store.open(tmp_path) as store:
        first = store.put_folder("prepared", "k", calls.append)
        assert store.put_folder("prepared", "k", calls.append) == first
    assert len(calls) == 1


def test_a_second_writer_is_refused_and_readers_are_not(tmp_path: Path) -> None:
    with Store.open(tmp_path):
        with pytest.raises(LockedError, match="another repobuild"):
            Store.open(tmp_path)
        Store.open(tmp_path, exclusive=False).close()
    Store.open(tmp_path).close()


def test_leftovers_of_a_crash_are_swept_and_whole_results_kept(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add_result(store)
    (tmp_path / "tmp/left/over").mkdir(parents=True)
    with Store.open(tmp_path) as store:
        assert list((tmp_path / "tmp").iterdir()) == []
        assert store.result("k1") is not None


def test_a_lost_ledger_is_filled_from_the_results_with_their_serials(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        add_result(store, serial=4, content="c4")
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    with Store.open(tmp_path) as store:
        assert store.ledger.keys_of("scope") == ("k1",)
        assert store.serials.serial("scope", "c4") == 4
        assert store.serials.serial("scope", "c5") == 5


def test_a_damaged_result_is_an_error_that_names_it(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        result = add_result(store)
        (result.folder / "p.rpm").write_bytes(b"longer than it was")
        with pytest.raises(StoreError, match=r"p\.rpm: size differs"):
            store.result("k1")


def test_serials_rise_with_new_content_and_stay_with_the_same(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        serials = [store.serials.serial("s", content) for content in ("a", "a", "b", "b", "a")]
        assert serials == [1, 1, 2, 2, 3]
        assert store.serials.peek("s", "a") == 3
        assert store.serials.peek("s", "new") == 4
        assert store.serials.serial("s", "new") == 4


def test_verdicts_of_many_results_are_found_at_once(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        for number in range(0, 1200, 2):
            store.ledger.record_verdict(f"key {number}", "static", ok=True, document=f"document {number}")
        store.ledger.record_verdict("key 1", "boot", ok=True, document="of another level")
        found = store.ledger.verdicts([f"key {number}" for number in range(1300)], "static")
        assert found == {f"key {number}": f"document {number}" for number in range(0, 1200, 2)}
        assert store.ledger.verdicts([], "static") == {}


def test_a_failure_is_forgotten_when_the_unit_is_built(tmp_path: Path) -> None:
    failure = Failure(
        unit_id="scope", key="k0", stage="build", code="build", message="no", details=("line",), log=None, happened=1.0
    )
    with Store.open(tmp_path) as store:
        store.ledger.record_failure(failure)
        assert store.ledger.failure("scope") == failure
        add_result(store)
        assert store.ledger.failure("scope") is None


def test_looking_at_no_work_folder_makes_none(tmp_path: Path) -> None:
    with Store.open_empty() as store:
        place = store.work
        assert store.result("k") is None
    assert not place.exists()


def test_a_ledger_of_a_newer_version_is_refused(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        store.ledger._db.execute("PRAGMA user_version=99")
    with pytest.raises(StoreError, match="version 99"):
        Store.open(tmp_path)


def test_a_removed_folder_is_never_half_there(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        path = store.put_folder("roots", "r", lambda folder: (folder / "a").mkdir(mode=0o500))
        store.remove_folder("roots", "r")
        assert not path.exists()
    shutil.rmtree(tmp_path)


def test_serials_of_removed_results_outlive_the_ledger(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        result = add_result(store, serial=4, content="c4")
        store.ledger.adopt_serial("scope", 4, "c4")
        store.retire([result])
        store.ledger.forget({"k1"}, (), {("scope", 4)})
        with store.removing() as take:
            take(result.folder)
        assert store.ledger.keys_of("scope") == ()
        assert store.serials.peek("scope", "c4") == 5
    assert list((tmp_path / "tmp").iterdir()) == []
    for file in tmp_path.glob("ledger.sqlite*"):
        file.unlink()
    with Store.open(tmp_path) as store:
        assert store.serials.peek("scope", "c4") == 5


def test_removing_waits_for_readers(tmp_path: Path) -> None:
    done: list[str] = []
    with Store.open(tmp_path) as store:
        store.put_folder("roots", "r", _nothing)

        def remove() -> None:
            with store.removing() as take:
                done.append("removed")
                take(tmp_path / "store/roots/r")

        with Store.open(tmp_path, exclusive=False) as reader:
            thread = Thread(target=remove)
            thread.start()
            folder = reader.folder("roots", "r")
            assert folder is not None
            assert folder.is_dir()
            done.append("looked")
        thread.join()
    assert done == ["looked", "removed"]


def test_only_a_writer_marks_what_it_used(tmp_path: Path) -> None:
    with Store.open(tmp_path) as store:
        place = store.put_folder("roots", "r", _nothing)
    os.utime(place, (1, 1))
    with Store.open(tmp_path, exclusive=False) as reader:
        assert reader.folder("roots", "r") == place
        assert reader.used == {("roots", "r")}
    assert place.stat().st_mtime == 1
    with Store.open(tmp_path) as store:
        store.folder("roots", "r")
    assert place.stat().st_mtime > 1
