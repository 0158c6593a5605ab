"""Open modules from NVIDIA's source release: src/ is built once, every kernel takes its objects."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.tools.rpms import rpm_file_member
from tests.conftest import OPEN_STREAMS, Job, make_job
from tests.lab.distro import LabDistro
from tests.lab.light import make_light
from tests.lab.light_source import with_source

FOLDER = "/usr/lib/nvidia-kmod/objects/535.261.03-open"


@pytest.fixture(scope="module")
def job(tmp_path_factory: pytest.TempPathFactory, lab: LabDistro, keys: Path, generic: list[str], whole: Job) -> Job:
    folder = tmp_path_factory.mktemp("open-source")
    (driver,) = make_light(["535.261.03"])
    made = make_job(
        folder, lab, [with_source(driver, folder / "src")], keys, streams=(OPEN_STREAMS[0], OPEN_STREAMS[2]),
        kernels=generic, flavors=["open"], like=whole,
    )  # fmt: skip
    made.run("matrix")
    return made


def objects_rpm(job: Job) -> Path:
    return next(job.published.glob("Packages/*/nvidia-kmod-objects-*.rpm"))


def test_the_objects_are_those_of_the_source_and_say_nothing_of_the_machine(job: Job) -> None:
    blob = rpm_file_member(objects_rpm(job), f"{FOLDER}/nv-kernel.o_binary")
    assert b"535.261.03 built from source" in blob
    assert b"(repobuild@repobuild)" in blob
    assert b".debug_info" not in blob
    assert b"/builddir" not in blob


def test_src_is_built_once_for_all_kernels_and_not_again(job: Job, generic: list[str]) -> None:
    trees = [p.parent for p in (job.work / "store/trees").glob("*/open-tree.json")]
    assert len(trees) == 1
    assert len(generic) == 2
    assert {f"kmod-nvidia-{release}" for release in generic} <= {p.split("-535")[0] for p in job.packages()}
    before = job.digest()
    again = job.run("matrix")
    assert "its objects serve every kernel" not in again.stderr
    assert job.digest() == before


def test_a_cell_from_source_is_reproducible(job: Job, generic: list[str]) -> None:
    job.run("verify", "--rebuild", f"r535-open@{generic[0]}")


def test_a_release_of_another_version_is_refused_with_both_named(
    tmp_path: Path, lab: LabDistro, keys: Path, generic: list[str], whole: Job
) -> None:
    driver, other = make_light(["535.261.03", "550.163.01"])
    wrong = with_source(other, tmp_path / "src").source
    assert wrong is not None
    renamed = wrong.rename(wrong.parent / "NVIDIA-kernel-module-source-535.261.03.tar.xz")
    job = make_job(
        tmp_path, lab, [replace(driver, source=renamed)], keys, streams=(OPEN_STREAMS[0], OPEN_STREAMS[2]),
        kernels=generic[:1], flavors=["open"], like=whole,
    )  # fmt: skip
    done = job.run("matrix", code=70)
    assert "550.163.01" in done.stderr
    assert "expected 535.261.03" in done.stderr
