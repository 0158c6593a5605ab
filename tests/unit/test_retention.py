"""What may go: nothing that is referred to or was used lately; sizes count each inode once."""

from __future__ import annotations

from pathlib import Path

from builder.model.retention import Fate, Kept, Stored, StoredFile
from builder.plan.retention import DAY, decide_fates, size_of

NOW = 1000 * DAY


def stored(name: str, *, age: float, files: tuple[tuple[int, int, int], ...] = ((1, 10, 1),)) -> Stored:
    """``files``: (inode, bytes, links)."""
    return Stored(
        kind="results",
        name=name,
        path=Path("/store") / name,
        used=NOW - age * DAY,
        files=tuple(StoredFile(inode=(0, inode), size=size, links=links) for inode, size, links in files),
    )


def decide(*items: Stored, kept: tuple[str, ...] = (), max_size: int | None = None) -> dict[str, Fate]:
    marks = {("results", name): Kept(reason="needed") for name in kept}
    fates = decide_fates(items, marks, now=NOW, keep_days=30, max_size=max_size)
    return {fate.item.name: fate for fate in fates}


def test_what_is_referred_to_or_was_used_lately_stays_the_rest_goes_and_each_says_why() -> None:
    found = decide(stored("old", age=40), stored("needed", age=400), stored("fresh", age=29), kept=("needed",))
    assert {name: (fate.stays, fate.reason) for name, fate in found.items()} == {
        "old": (False, "used 40 days ago, nothing refers to it"),
        "needed": (True, "needed"),
        "fresh": (True, "used 29 days ago"),
    }


def test_a_file_with_two_names_is_counted_once_and_freed_when_its_last_name_goes() -> None:
    one, two = stored("one", age=40, files=((1, 10, 2),)), stored("two", age=40, files=((1, 10, 2), (2, 5, 1)))
    assert size_of([one, two]) == 15
    assert {name: fate.frees for name, fate in decide(one, two).items()} == {"one": 10, "two": 5}
    assert {name: fate.frees for name, fate in decide(one, two, kept=("two",)).items()} == {"one": 0, "two": 0}
    elsewhere = stored("linked", age=40, files=((3, 7, 2),))  # its other name is in no folder that was looked at
    assert decide(elsewhere)["linked"].frees == 0


def test_a_file_that_generations_share_is_freed_when_all_of_them_go() -> None:
    signed = stored("signed", age=40, files=((1, 10, 2),))  # in the store and in a pool
    one, two = (stored(name, age=40, files=((1, 10, 3),)) for name in ("one", "two"))  # as if each had its own link
    assert sum(fate.frees for fate in decide(signed, one, two).values()) == 10
    for stays in ("signed", "one", "two"):
        assert sum(fate.frees for fate in decide(signed, one, two, kept=(stays,)).values()) == 0


def test_a_largest_size_takes_what_was_unused_longest_and_never_what_is_referred_to() -> None:
    items = [stored(str(age), age=age, files=((age, 10, 1),)) for age in (1, 2, 3, 4)]
    found = decide(*items, kept=("4",), max_size=25)
    assert {name: fate.stays for name, fate in found.items()} == {"1": True, "2": False, "3": False, "4": True}
    assert found["3"].reason == "more than is allowed; used 3 days ago, nothing refers to it"
    assert sum(fate.stays for fate in decide(*items, kept=("1", "2", "3", "4"), max_size=0).values()) == 4
