"""The lab's own reading of the host's archive: whose sources it takes, what becomes of names and versions."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.archive import own_sources
from tests.lab.convert import alternatives, requirements, split_version
from tests.lab.distro import without_renamed

KEY = "/usr/share/keyrings/debian-archive-keyring.gpg"


@pytest.mark.parametrize(
    ("version", "parts"),
    [
        ("1:2.3-4", (1, "2.3", "4")),
        ("2.38.1", (None, "2.38.1", "1")),
        ("6.1.192-2", (None, "6.1.192", "2")),
        ("1.0-rc1-2", (None, "1.0_rc1", "2")),
    ],
)
def test_a_debian_version_becomes_epoch_version_release_that_rpm_takes(version: str, parts: tuple[object, ...]) -> None:
    assert split_version(version) == parts


def test_alternatives_lose_versions_and_architectures() -> None:
    assert alternatives("a (>= 1) | b [amd64], c:any") == [["a", "b"], ["c"]]


def test_the_first_alternative_of_the_set_is_required_and_none_is_invented() -> None:
    fields = {"Package": "tool", "Depends": "gone | kept, virtual, nowhere", "Pre-Depends": "libc6"}
    assert requirements(fields, {"kept", "libc6"}, {"virtual"}) == ["filesystem", "kept", "libc6", "virtual"]


def test_a_package_does_not_require_itself() -> None:
    assert requirements({"Package": "loop", "Depends": "loop"}, {"loop"}, ()) == ["filesystem"]


def test_the_same_library_under_a_new_name_is_left_out() -> None:
    have = [Path("libelf1_0.188-2_amd64.deb")]
    newer = [Path("libelf1t64_0.192-4_amd64.deb"), Path("libssl3t64_3.5-1_amd64.deb"), Path("libc6_2.41-1_amd64.deb")]
    assert without_renamed(newer, have) == newer[1:]


def _sources(etc: Path, **files: str) -> list[str]:
    folder = etc / "sources.list.d"
    folder.mkdir(exist_ok=True)
    for name, text in files.items():
        (folder / name.replace("_", ".")).write_text(text)
    return [uris for uris, _, _ in own_sources(etc, "debian", "bookworm")]


def _stanza(**fields: str) -> str:
    values = {"Types": "deb", "URIs": "http://own.test/a", "Suites": "bookworm bookworm-updates", "Components": "main"}
    return "".join(f"{name}: {value}\n" for name, value in {**values, **fields}.items())


def test_the_distributions_own_entries_are_taken_in_both_formats(tmp_path: Path) -> None:
    signed = _stanza(**{"Signed-By": KEY})
    line = f"deb [signed-by={KEY}] http://own.test/b bookworm-security main contrib # comment\n"
    assert _sources(tmp_path, own_sources=signed, old_list=line) == ["http://own.test/a", "http://own.test/b"]


@pytest.mark.parametrize(
    "fields",
    [
        {"Suites": "bookworm-tools"},
        {"Components": "stable"},
        {"Signed-By": "/usr/share/keyrings/other.gpg"},
        {"Types": "deb-src"},
        {"Enabled": "no"},
        {"Suites": "trixie"},
    ],
    ids=lambda fields: "-".join(*fields.items()),
)
def test_entries_of_others_are_left_alone(tmp_path: Path, fields: dict[str, str]) -> None:
    assert _sources(tmp_path, other_sources=_stanza(**fields)) == []
