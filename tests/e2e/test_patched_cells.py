"""Real drivers on real kernels that are newer than they: what patches mend, and what the compiler says without them.

Two modules of each (nvidia and nvidia-peermem): both changes of the kernel are in what they are made of.
"""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import make_job
from tests.lab.archive import Archive
from tests.lab.distro import LabDistro, make_distro
from tests.lab.drivers import make_real
from tests.lab.matrix import stream

SUITE = "bookworm"
NEWER = {"6.1": f"6.1/{SUITE}-security", "6.12": "6.12", "6.12 of the next release": "6.12/trixie"}
MODULES = ["nvidia", "nvidia-peermem"]


def build(tmp_path: Path, keys: Path, branch: str, flavor: str, series: str, *, patched: bool) -> dict[str, Any]:
    """The outcome of the only cell."""
    if Archive().suite != SUITE:
        pytest.skip(f"which kernels these drivers do not fit is known of {SUITE} only")
    lab: LabDistro = make_distro(series=(NEWER[series],))
    (driver,) = make_real([branch])
    if not patched:
        driver = replace(driver, patches=())
    name = f"r{branch}" + ("-open" if flavor == "open" else "")
    streams = (stream(name, branch, flavor, default=True),)
    job = make_job(
        tmp_path, lab, [driver], keys, streams=streams, kernels=[lab.kernels[-1].release], flavors=[flavor],
        modules=MODULES,
    )  # fmt: skip
    assert (job.config.parent / "patches").exists() == patched
    document = job.json("matrix", code=0 if patched else 70)
    (cell,) = [unit for unit in document["units"] if unit["kind"] == "kmod-nvidia"]
    return dict(cell)


@pytest.mark.qualify
@pytest.mark.parametrize(
    ("branch", "flavor", "series"),
    [
        ("470", "proprietary", "6.12"),
        ("535", "open", "6.1"),
        ("535", "open", "6.12 of the next release"),
        ("550", "open", "6.1"),
        ("550", "open", "6.12 of the next release"),
    ],
)
def test_a_patched_driver_is_built_qualified_and_published(
    tmp_path: Path, keys: Path, branch: str, flavor: str, series: str
) -> None:
    cell = build(tmp_path, keys, branch, flavor, series, patched=True)
    assert {check["name"] for check in cell["checks"]} >= {"vermagic", "imports", "modules"}
    assert all(check["outcome"] == "ok" for check in cell["checks"])


@pytest.mark.qualify
@pytest.mark.parametrize(
    ("branch", "flavor", "series", "words"),
    [
        ("470", "proprietary", "6.12", "implicit declaration of function 'follow_pfn'"),
        ("535", "open", "6.1", "too few arguments to function 'pci_resize_resource'"),
        ("550", "open", "6.12 of the next release", "too few arguments to function 'pci_resize_resource'"),
    ],
)
def test_without_its_patch_the_compilers_own_words_are_told(
    tmp_path: Path, keys: Path, branch: str, flavor: str, series: str, words: str
) -> None:
    cell = build(tmp_path, keys, branch, flavor, series, patched=False)
    assert words in json.dumps(cell)
