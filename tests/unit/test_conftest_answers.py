"""Answers of conftest in the store: merged whole, by kernel and toolchain, never believed when they contradict."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from builder.errors import StoreError
from builder.store import Store
from builder.store.conftest_answers import FORMAT, answers_source, merge_answers

KERNEL, OTHER_KERNEL = "a" * 64, "b" * 64


def question(number: int) -> str:
    return f"{number:064x}"


def left(answers: dict[int, int], toolchain: int = 1) -> bytes:
    """What a build leaves."""
    lines = [FORMAT, f"identity {toolchain:064x}", *(f"{question(q)} {status}" for q, status in answers.items())]
    return ("\n".join(lines) + "\n").encode()


def known(store: Store, folder: Path, kernel: str = KERNEL) -> str:
    return answers_source(store, kernel, folder).path.read_text()


def test_a_kernel_that_nobody_asked_about_has_an_empty_file(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        source = answers_source(store, KERNEL, tmp_path)
    assert (source.filename, source.size, source.path.read_bytes()) == ("conftest-answers", 0, b"")


def test_answers_of_builds_of_one_kernel_are_united(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        assert merge_answers(store, KERNEL, left({1: 0, 2: 1})) == 2
        assert merge_answers(store, KERNEL, left({2: 1, 3: 0})) == 1
        assert known(store, tmp_path) == left({1: 0, 2: 1, 3: 0}).decode()
        assert known(store, tmp_path, OTHER_KERNEL) == ""


def test_the_same_answers_again_change_nothing_on_disk(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        merge_answers(store, KERNEL, left({1: 0}))
        (file,) = (store.work / "store/conftest").glob("*.answers")
        before = file.stat().st_ino
        assert merge_answers(store, KERNEL, left({1: 0})) == 0
        assert file.stat().st_ino == before


def test_toolchains_are_kept_apart_and_the_oldest_leaves(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        for toolchain in (1, 2, 3, 4, 5, 6, 7, 8, 1, 9):
            merge_answers(store, KERNEL, left({toolchain: 0}, toolchain))
        identities = [int(line[-1]) for line in known(store, tmp_path).splitlines() if line.startswith("identity")]
    assert identities == [9, 1, 8, 7, 6, 5, 4, 3]


def test_a_question_with_two_answers_is_forgotten(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        merge_answers(store, KERNEL, left({1: 0, 2: 0}))
        merge_answers(store, KERNEL, left({1: 1, 3: 0}))
        assert known(store, tmp_path) == left({2: 0, 3: 0}).decode()
        merge_answers(store, KERNEL, left({4: 0}) + f"{question(4)} 1\n".encode())
        assert known(store, tmp_path) == left({2: 0, 3: 0}).decode()


def test_what_makefiles_asked_is_kept_for_all_kernels_beside_what_conftest_asked_of_one(tmp_path: Path) -> None:
    words = 'gcc-12@S-Werror@S-falign-jumps@E1@S-c@S-x@Sc@S/dev/null@S-o@S"@DTMP"'
    flags = f"{FORMAT}\nidentity {7:064x}\n{words} 0\n"
    more = words.replace("jumps", "loops")
    with Store.open(tmp_path / "work") as store:
        merge_answers(store, KERNEL, left({1: 0}))
        assert merge_answers(store, KERNEL, flags.encode()) == 1
        assert known(store, tmp_path) == flags + left({1: 0}).decode().partition("\n")[2]
        assert known(store, tmp_path, OTHER_KERNEL) == flags
        both = left({2: 0}) + flags.encode().partition(b"\n")[2] + f"{more} 0\n".encode()
        assert merge_answers(store, OTHER_KERNEL, both) == 2
        assert known(store, tmp_path).splitlines()[2:4] == [f"{words} 0", f"{more} 0"]
        assert known(store, tmp_path, OTHER_KERNEL).endswith(left({2: 0}).decode().partition("\n")[2])
        for odd in ("$(shell id)", "a@Sb=c", words.replace("@S-c", " -c")):
            with pytest.raises(StoreError, match="no answer of conftest"):
                merge_answers(store, KERNEL, f"{FORMAT}\nidentity {7:064x}\n{odd} 0\n".encode())


def test_a_build_without_answers_is_fine(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        assert merge_answers(store, KERNEL, f"{FORMAT}\n".encode()) == 0
        assert known(store, tmp_path) == ""


@pytest.mark.parametrize("data", [b"", b"repobuild-conftest 9\n", left({1: 0}) + b"rm -rf\n", b"\xff\x00"])
def test_what_the_shim_did_not_write_is_refused(tmp_path: Path, data: bytes) -> None:
    with Store.open(tmp_path / "work") as store:
        merge_answers(store, KERNEL, left({1: 0}))
        with pytest.raises(StoreError, match="the answers that the build left"):
            merge_answers(store, KERNEL, data)
        assert known(store, tmp_path) == left({1: 0}).decode()


def test_a_damaged_file_is_replaced_not_mourned(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        merge_answers(store, KERNEL, left({1: 0}))
        (file,) = (store.work / "store/conftest").glob("*.answers")
        file.write_bytes(file.read_bytes()[:-3])
        merge_answers(store, KERNEL, left({2: 0}))
        assert known(store, tmp_path) == left({2: 0}).decode()


def test_merges_at_the_same_time_lose_nothing(tmp_path: Path) -> None:
    with Store.open(tmp_path / "work") as store:
        with ThreadPoolExecutor(8) as pool:
            added = list(pool.map(lambda n: merge_answers(store, KERNEL, left({n: n % 2})), range(40)))
        assert sum(added) == 40
        assert known(store, tmp_path) == left({n: n % 2 for n in range(40)}).decode()
