"""The lab's matrix takes a patch where one of its cells needs it, and says of it what is true of that matrix."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.lab.lab_patches import OWN, LabPatch, patches_of_driver


def kernel(release: str, evr: str, variant: str = "generic") -> dict[str, Any]:
    core = {"name": "kernel-core", "evr": evr}
    return {"distribution": "lab9", "release": release, "variant": variant, "core": core}


OLD = kernel("6.1.0-50-amd64", "6.1.0-50.lab9")
NEW = kernel("6.1.0-56-amd64", "6.1.0-56.lab9")
LATER = kernel("6.12.107+deb13-amd64", "6.12.107+deb13-1.lab9")
RULES = ({"from": "6.1.0-53", "before": "6.2"}, {"from": "6.12.97"})
PATCH = LabPatch(path=Path("/x/a.patch"), reason="why", kernels=RULES, flavors=("open",))
BOTH = ("proprietary", "open")


def test_a_patch_that_no_kernel_or_flavor_needs_is_left_out() -> None:
    assert PATCH.entry([OLD], BOTH) is None
    assert PATCH.entry([OLD, NEW], ["proprietary"]) is None


def test_only_rules_that_choose_a_kernel_are_written() -> None:
    entry = PATCH.entry([OLD, LATER], BOTH)
    assert entry == {
        "file": "patches/a.patch",
        "reason": "why",
        "kernels": [{"from": "6.12.97"}],
        "flavors": ["open"],
    }
    both = PATCH.entry([NEW, LATER], BOTH)
    assert both is not None
    assert both["kernels"] == [dict(rule) for rule in RULES]


def test_a_patch_without_conditions_is_always_taken() -> None:
    assert LabPatch(path=Path("a.patch"), reason="why").entry([OLD], BOTH) == {
        "file": "patches/a.patch",
        "reason": "why",
    }


def test_the_archives_patches_come_in_their_series_order_with_their_own_words(tmp_path: Path) -> None:
    (tmp_path / "series").write_text("# first\nz.patch\n\na.patch  # then\n")
    (tmp_path / "z.patch").write_text("From: somebody\nSubject: [PATCH 1/2] fix it\n\n--- a/x\n")
    (tmp_path / "a.patch").write_text("Description: mend the rest\n more\n")
    found = patches_of_driver("999", tmp_path, "some-dkms")
    assert [(p.path.name, p.reason) for p in found] == [
        ("z.patch", "some-dkms applies it: fix it"),
        ("a.patch", "some-dkms applies it: mend the rest"),
    ]


@pytest.mark.parametrize("branch", ["470", "535", "550"])
def test_our_own_patches_are_there_and_say_why(branch: str, tmp_path: Path) -> None:
    patches = patches_of_driver(branch, tmp_path, "x")
    assert patches
    for patch in patches:
        text = patch.path.read_text()
        assert text.startswith("Subject: ")
        assert "\n\nKernel: " in text


def test_no_patch_lies_there_unused(tmp_path: Path) -> None:
    used = {patch.path for branch in ("470", "535", "550") for patch in patches_of_driver(branch, tmp_path, "x")}
    assert used == set(OWN.iterdir())
