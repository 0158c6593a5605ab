"""``delivery: branch-repos``: the same cells, published as a tree a stream.

An admin's year on a host that follows one is in test_journey_mirrored.py.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Job


@pytest.fixture(scope="module")
def published(whole: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    """What was published as modules before, published as trees: nothing but the releases is built."""
    job = whole.copy(tmp_path_factory.mktemp("trees") / "job")
    text = job.config.read_text()
    assert text.count("delivery: modular") == 1
    job.config.write_text(text.replace("delivery: modular", "delivery: branch-repos"))
    plan = job.json("plan")
    assert plan["counts"]["reuse"] == len(plan["cells"]) + len(plan["packages"])
    document = job.json("matrix")
    built = {u["id"] for u in document["units"] if u["reason"] == "built"}
    versions = {"r535-open": "535.261.03", "r550-open": "550.163.01", "latest": "550.163.01"}
    assert built == {f"nvidia-driver-release-{name}:{version}@lab9.x86_64" for name, version in versions.items()}
    assert document["distributions"][0]["publication"]["changed"] is True
    return job


def test_each_tree_is_whole_and_a_second_run_publishes_nothing_new(published: Job) -> None:
    published.verify()
    before = published.digest()
    document = published.json("matrix")
    assert {u["reason"] for u in document["units"]} == {"reused"}
    assert published.digest() == before
    report = published.run("report").stdout
    assert "lab9/x86_64 use: nvidia-driver-stream r535-open" in report


def test_another_address_is_an_update_of_the_release_package(published: Job, tmp_path: Path) -> None:
    moved = published.copy(tmp_path / "moved")
    moved = replace(moved, repo=tmp_path / "repo")
    document = moved.json("matrix", "--base-url", "https://example.org/nvidia")
    releases = [u for u in document["units"] if u["kind"] == "nvidia-driver-release"]
    assert releases
    assert {u["reason"] for u in releases} == {"built"}
    assert all(any("-2." in rpm for rpm in u["rpms"]) for u in releases)
    text = (moved.repo / "lab9.repo").read_text()
    assert "baseurl=https://example.org/nvidia/lab9/$basearch/streams/$nvidiastream" in text
