"""What mock publishes is what the chroot builder publishes. Where mock is installed; Debian has no package of it.

All other end-to-end tests run through mock with ``REPOBUILD_BUILDER=mock`` (docs/adr/0019-mock-builder.md).
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from builder.tools.run import which
from tests.conftest import Job
from tests.e2e.test_kill import same_as_undisturbed
from tests.tools.listed import content_tree

pytestmark = pytest.mark.skipif(which("mock") is None, reason="mock is not installed: Fedora and EPEL have it")


def test_mock_and_the_chroot_builder_publish_the_same_bytes_and_reuse_each_others(tmp_path: Path, whole: Job) -> None:
    first, other = ("chroot", "mock") if os.environ.get("REPOBUILD_BUILDER") == "chroot" else ("mock", "chroot")
    job = whole.copy(tmp_path, kinds=("roots",), done=False)
    document = job.json("matrix", "--builder", other)
    assert {unit["reason"] for unit in document["units"]} == {"built"}
    same_as_undisturbed(job, whole)
    assert content_tree(job.published) == content_tree(whole.published)
    again = job.json("matrix", "--builder", first)
    assert {unit["reason"] for unit in again["units"]} == {"reused"}


def test_either_builder_rebuilds_a_cell_from_its_lock_with_the_repositories_gone(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path)
    document = yaml.safe_load(job.config.read_text())
    (kernel,) = document["kernels"]
    for repository in document["distributions"]["lab9"]["buildroot"]["repositories"]:
        repository["baseurl"] = str(tmp_path / "gone")
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))
    cell = f"r550-open@{kernel['release']}"
    same = [job.json("verify", "--rebuild", cell, "--hermetic", "--builder", name)[cell] for name in ("mock", "chroot")]
    assert same[0] == same[1]
    assert {Path(name).suffix for name in same[0]} == {".ko", ".rpm"}
