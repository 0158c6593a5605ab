"""What is told of distributions whose clients have no modules."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path

import pytest

from builder.model.cells import Decision, PackageKind
from builder.model.matrix import Delivery
from builder.model.naming import DRIVER_PACKAGES, OWN_PACKAGES, package_nevra
from builder.pipeline.events import ignore
from builder.pipeline.matrix import plan
from builder.pipeline.settings import Settings
from builder.publish import client_repository
from builder.publish.trees import read_trees
from builder.render import render_release
from builder.render.templates import spec_source
from builder.report import support_matrix
from tests.golden import sample
from tests.unit.test_report import FACTS

ROOT = Path(__file__).parents[2]


def test_el10_is_planned_like_any_other_and_el7_says_why_not(tmp_path: Path) -> None:
    _, actions = plan(Settings(config=ROOT / "matrix.yaml", work=tmp_path / "work", builder="host"), ignore)
    reasons = {
        name: {a.reason for a in actions if a.unit.distribution.name == name and a.decision is not Decision.SKIP}
        for name in ("el7", "el9", "el10")
    }
    assert reasons["el10"]
    assert reasons["el10"] <= reasons["el9"]  # the same sources without pins, nothing of its own
    (why,) = reasons["el7"]
    assert "delivery 'branch-packages', which this version does not publish yet" in why


def test_a_switch_names_every_package_there_can_be() -> None:
    names = [
        *DRIVER_PACKAGES,
        *(k.value for k in PackageKind if k is not PackageKind.KMOD),
        "kmod-nvidia-6.12.0-55.el10",
    ]
    assert [name for name in names if not any(fnmatchcase(name, own) for own in OWN_PACKAGES)] == []
    assert not any(fnmatchcase("nvidia-container-toolkit", own) for own in OWN_PACKAGES)


def test_a_release_says_its_stream_and_is_nobody_elses_file() -> None:
    unit = sample.unit(PackageKind.RELEASE, dist=sample.distribution("el10"))
    one, other = (replace(unit, stream=name) for name in ("r535-open", "latest"))
    assert package_nevra(one, sample.MATRIX, serial=2).evr.release == "2.r535.open.el10"
    assert len({u.id for u in (one, other)} | {u.scope for u in (one, other)}) == 4
    with pytest.raises(Exception, match="needs a stream"):
        render_release(unit, sample.MATRIX, client_repository("m", "el10", Delivery.BRANCH_REPOS, "https://x"))


def test_the_repo_file_of_trees_follows_dnfs_variable_and_the_modular_one_does_not() -> None:
    trees = client_repository("nvidia-driver", "el10", Delivery.BRANCH_REPOS, "https://example.org/r/")
    assert trees.id == "nvidia-driver-el10"
    assert "baseurl=https://example.org/r/el10/$basearch/streams/$nvidiastream\n" in trees.text
    modular = client_repository("nvidia-driver", "el9", Delivery.MODULAR, "https://example.org/r")
    assert "baseurl=https://example.org/r/el9/$basearch\n" in modular.text
    for text in (trees.text, modular.text):
        assert "\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=https://example.org/r/RPM-GPG-KEY-repobuild\n" in text


@pytest.mark.parametrize(
    ("record", "said"),
    [
        (b"[]", "not a record"),
        (b'{"delivery": "branch-repos"}', "not a record"),
        (
            b'{"delivery":"branch-repos","streams":[{"stream":"../x","default":0,"profiles":{},"default_profile":"d"}]}',
            "is no name of a stream",
        ),
    ],
)
def test_a_record_that_is_none_of_ours_is_refused(record: bytes, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_trees(record)


def test_the_support_matrix_tells_the_commands_of_its_delivery() -> None:
    modular = support_matrix(FACTS)["commands"]
    assert modular == [
        "dnf module list nvidia-driver",
        "dnf module install nvidia-driver:latest",
        "dnf module switch-to nvidia-driver:latest-dkms",
    ]
    trees = support_matrix(replace(FACTS, delivery="branch-repos", distribution="el10"))["commands"]
    assert trees == [
        "dnf install REPOSITORY/el10/x86_64/streams/latest/nvidia-driver-release.rpm",
        "dnf install nvidia-driver cuda-drivers",
        "nvidia-driver-stream latest-dkms",
    ]


def test_the_script_is_sh() -> None:
    path = spec_source("nvidia-driver-stream").path
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
