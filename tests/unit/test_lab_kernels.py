"""Which kernels the lab takes of an archive: by rule from what it offers, variants and suites asked for by name."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from tests.lab.archive import Candidate, LabUnavailableError
from tests.lab.kernels import choose

OFFERED = {
    "6.1.0-9-amd64": "bookworm",
    "6.1.0-47-amd64": "bookworm",
    "6.1.0-50-amd64": "bookworm",
    "6.1.0-56-amd64": "bookworm-security",
    "6.1.0-50-cloud-amd64": "bookworm",
    "6.1.0-50-rt-amd64": "bookworm",
    "6.12.94+deb13-amd64": "trixie",
    "6.12.107+deb13-amd64": "trixie",
    "6.12.117+deb12-amd64": "bookworm-security",
    "6.12.117+deb12-rt-amd64": "bookworm-security",
}


class FakeArchive:
    """Offers these kernels, complete."""

    suite = "bookworm"

    def names(self, _pattern: str) -> list[str]:
        return [f"linux-headers-{release}" for release in OFFERED]

    def candidates(self, names: Sequence[str]) -> dict[str, list[Candidate]]:
        suites = {name: OFFERED[name.removeprefix("linux-image-")] for name in names}
        return {name: [Candidate(name=name, version="1", suite=suite)] for name, suite in suites.items()}

    def depends(self, names: Sequence[str]) -> dict[str, list[str]]:
        if list(names) == ["linux-headers-amd64"]:
            return {"linux-headers-amd64": ["linux-headers-6.1.0-50-amd64"]}
        return {name: self._parts(name) for name in names}

    @staticmethod
    def _parts(name: str) -> list[str]:
        base = name.removesuffix("-amd64")
        common = f"{base.removesuffix('-cloud').removesuffix('-rt')}-common" + ("-rt" if base.endswith("-rt") else "")
        gcc = "gcc-14" if "deb13" in name else "linux-compiler-gcc-12-x86"
        return [common, "linux-kbuild-6", gcc]


def chosen(*series: str) -> dict[str, tuple[str, str, str]]:
    found = choose(FakeArchive(), series)  # type: ignore[arg-type]
    return {c.release: (c.variant, c.compiler, c.suite) for c in found}


HOST = {
    "6.1.0-47-amd64": ("generic", "gcc-12", "bookworm"),
    "6.1.0-50-amd64": ("generic", "gcc-12", "bookworm"),
    "6.1.0-50-cloud-amd64": ("cloud", "gcc-12", "bookworm"),
}


def test_two_settled_kernels_and_a_cloud_one_are_what_every_lab_has() -> None:
    assert chosen() == chosen("6.1") == HOST


@pytest.mark.parametrize(
    ("series", "release", "described"),
    [
        ("6.12", "6.12.117+deb12-amd64", ("generic", "gcc-12", "bookworm")),
        ("6.12/trixie", "6.12.107+deb13-amd64", ("generic", "gcc-14", "trixie")),
        ("6.1/bookworm-security", "6.1.0-56-amd64", ("generic", "gcc-12", "bookworm")),
        ("6.1:rt", "6.1.0-50-rt-amd64", ("rt", "gcc-12", "bookworm")),
        ("6.12:rt/bookworm-security", "6.12.117+deb12-rt-amd64", ("rt", "gcc-12", "bookworm")),
    ],
)
def test_a_further_kernel_is_asked_for_by_series_variant_and_suite(
    series: str, release: str, described: tuple[str, str, str]
) -> None:
    assert chosen(series) == {**HOST, release: described}


def test_a_kernel_that_is_not_offered_is_told() -> None:
    with pytest.raises(LabUnavailableError, match=r"0 rt kernels of 6\.12, 1 are needed"):
        chosen("6.12:rt/trixie")
