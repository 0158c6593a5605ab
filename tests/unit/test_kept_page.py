"""A page that was made of the same bytes is not made again; of others it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.pipeline import kept
from builder.pipeline.kept import kept_page
from builder.store import Derived


class _Maker:
    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> bytes:
        self.made += 1
        return f"page {self.made}".encode()


def test_the_page_of_a_document_is_made_once(tmp_path: Path) -> None:
    derived, make = Derived(tmp_path / "derived"), _Maker()
    assert kept_page(derived, "a", b"one", make) == kept_page(derived, "a", b"one", make) == b"page 1"


def test_another_document_place_or_program_makes_it_anew(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    derived, make = Derived(tmp_path / "derived"), _Maker()
    assert kept_page(derived, "a", b"one", make) == b"page 1"
    assert kept_page(derived, "a", b"two", make) == b"page 2"
    assert kept_page(derived, "b", b"two", make) == b"page 3"
    monkeypatch.setattr(kept, "identity", lambda: "another program")
    assert kept_page(derived, "a", b"two", make) == b"page 4"


def test_one_page_is_kept_of_a_place(tmp_path: Path) -> None:
    derived, make = Derived(tmp_path / "derived"), _Maker()
    for number in range(5):
        kept_page(derived, "a", str(number).encode(), make)
    assert derived.count("page") == 1


def test_without_a_work_folder_it_is_made() -> None:
    make = _Maker()
    assert [kept_page(None, "a", b"one", make) for _ in range(2)] == [b"page 1", b"page 2"]
