"""What is told of distributions whose clients have no modules."""

from __future__ import annotations

import subprocess
from dataclasses import replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

import pytest

from builder.config import load_matrix
from builder.errors import RenderError
from builder.model.cells import Decision, PackageKind
from builder.model.matrix import Delivery
from builder.model.naming import DRIVER_PACKAGES, OWN_PACKAGES, package_nevra, stream_mark, stream_package
from builder.model.nevra import compare_evr
from builder.pipeline.events import ignore
from builder.pipeline.matrix import plan
from builder.pipeline.settings import Settings
from builder.publish import client_repository, host_repository
from builder.publish.trees import read_trees
from builder.render import render_release, render_repository_release
from builder.render.templates import spec_source
from builder.report import CurrentPublication, site_document, support_matrix, support_page
from builder.tools.oldrpm import judge
from tests.golden import sample
from tests.unit.test_report import FACTS

ROOT = Path(__file__).parents[2]
SITE = "https://repo.example.com/nvidia"


def test_el7_and_el10_are_planned_like_any_other(tmp_path: Path) -> None:
    _, actions = plan(Settings(config=ROOT / "matrix.yaml", work=tmp_path / "work", builder="host"), ignore)
    reasons = {
        name: {a.reason for a in actions if a.unit.distribution.name == name and a.decision is not Decision.SKIP}
        for name in ("el7", "el9", "el10")
    }
    assert reasons["el10"]
    assert reasons["el10"] <= reasons["el9"]  # the same sources without pins, nothing of its own
    assert {why.partition(": ")[2] for why in reasons["el7"]} == {"no pin in matrix.lock.yaml"}


def test_a_switch_names_every_package_there_can_be() -> None:
    names = [
        *DRIVER_PACKAGES,
        *(k.value for k in PackageKind if k not in (PackageKind.KMOD, PackageKind.STREAM_KMODS)),
        "kmod-nvidia-6.12.0-55.el10",
    ]
    assert [name for name in names if not any(fnmatchcase(name, own) for own in OWN_PACKAGES)] == []
    assert not any(fnmatchcase("nvidia-container-toolkit", own) for own in OWN_PACKAGES)


def test_a_release_says_its_stream_and_is_nobody_elses_file() -> None:
    unit = sample.unit(PackageKind.RELEASE, dist=sample.distribution("el10"))
    one, other = (replace(unit, stream=name) for name in ("r535-open", "latest"))
    assert package_nevra(one, sample.MATRIX, serial=2).evr.release == "2.r535.open.el10"
    assert len({u.id for u in (one, other)} | {u.scope for u in (one, other)}) == 4
    with pytest.raises(RenderError, match="needs a stream"):
        render_release(unit, sample.MATRIX, client_repository("m", "el10", Delivery.BRANCH_REPOS, "https://x"))


ARMORED = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\nbWFkZSB1cA==\n-----END PGP PUBLIC KEY BLOCK-----\n"


def test_the_release_of_a_repository_with_modules_is_of_no_driver() -> None:
    unit, newer = (sample.unit(PackageKind.RELEASE, driver) for driver in (sample.D535, sample.D550))
    nevra = package_nevra(unit, sample.MATRIX, serial=2)
    assert (nevra.evr.version, nevra.evr.release) == ("9", "2.el9")  # as the distribution's own: EL10's is newer
    assert package_nevra(newer, sample.MATRIX, serial=2) == nevra
    assert (unit.id, unit.scope) == (newer.id, newer.scope)
    host = host_repository("nvidia-driver", "el9", "https://example.org/r", [ARMORED], None)
    text = render_repository_release(unit, sample.MATRIX, host).text
    assert text == render_repository_release(newer, sample.MATRIX, host).text
    assert "certificate" not in text
    assert "\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=file:///etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-driver-el9\n" in text
    with pytest.raises(RenderError, match="is of one stream"):
        render_repository_release(replace(unit, stream="r535"), sample.MATRIX, host)
    with pytest.raises(RenderError, match="not armored"):
        render_repository_release(unit, sample.MATRIX, replace(host, keys=(ARMORED, b"\x99\x01")))


def test_the_repo_file_of_trees_follows_dnfs_variable_and_the_modular_one_does_not() -> None:
    trees = client_repository("nvidia-driver", "el10", Delivery.BRANCH_REPOS, "https://example.org/r/")
    assert trees.id == "nvidia-driver-el10"
    assert "baseurl=https://example.org/r/el10/$basearch/streams/$nvidiastream\n" in trees.text
    modular = client_repository("nvidia-driver", "el9", Delivery.MODULAR, "https://example.org/r")
    assert "baseurl=https://example.org/r/el9/$basearch\n" in modular.text
    for text in (trees.text, modular.text):
        assert "\ngpgcheck=1\nrepo_gpgcheck=1\ngpgkey=https://example.org/r/RPM-GPG-KEY-repobuild\n" in text


def test_the_repo_file_names_both_keys_while_one_follows_another() -> None:
    names = ("RPM-GPG-KEY-repobuild", "RPM-GPG-KEY-repobuild-0123456789ABCDEF")
    both = client_repository("m", "el10", Delivery.BRANCH_REPOS, "https://example.org/r", key_names=names)
    line = "gpgkey=" + " ".join(f"https://example.org/r/{name}" for name in names)
    assert f"\n{line}\n" in both.text
    release = render_release(
        replace(sample.unit(PackageKind.RELEASE, dist=sample.distribution("el10")), stream="r535"), sample.MATRIX, both
    )
    assert f"\n{line}\n" in release.text  # the package that brings the file to hosts


def test_streams_in_package_names_need_one_repository_and_no_variable() -> None:
    named = client_repository("nvidia-driver", "el7", Delivery.BRANCH_PACKAGES, "https://example.org/r")
    assert "baseurl=https://example.org/r/el7/$basearch\n" in named.text
    assert "modul" not in named.text
    assert "\ngpgcheck=1\nrepo_gpgcheck=1\n" in named.text


@pytest.mark.parametrize(
    ("base", "name"),
    [
        ("nvidia-driver", "nvidia-driver-branch-535-open"),
        ("nvidia-driver-cuda-libs", "nvidia-driver-branch-535-open-cuda-libs"),
        ("nvidia-driver-release", "nvidia-driver-branch-535-open-release"),
        ("kmod-nvidia-stream", "kmod-nvidia-branch-535-open"),
        ("dkms-nvidia", "kmod-nvidia-branch-535-open"),
        ("nvidia-modprobe", "nvidia-modprobe-branch-535-open"),
        ("nvidia-kmod-common", "nvidia-kmod-common-branch-535-open"),
        ("cuda-drivers", "nvidia-driver-branch-535-open"),
        ("cuda-drivers-535", "nvidia-driver-branch-535-open"),
        ("nvidia-open", "nvidia-driver-branch-535-open"),
        ("nvidia-open-kernel-source", "nvidia-open-kernel-source-branch-535-open"),
        ("libnvidia-nscq", "libnvidia-nscq-branch-535-open"),
    ],
)
def test_the_stream_stands_in_the_name_of_each_package(base: str, name: str) -> None:
    assert stream_package(base, "branch-535-open") == name
    assert stream_package(base, None) == base


def test_no_two_packages_of_a_stream_have_one_name_and_each_conflicts_with_other_streams_only() -> None:
    bases = [*DRIVER_PACKAGES, "nvidia-driver-release", "nvidia-kmod-common", "nvidia-kmod-objects", "dkms-nvidia"]
    names = {stream_package(base, label) for base in bases for label in ("latest", "latest-dkms", "branch-535")}
    assert len(names) == 3 * len(bases)
    labels = ["latest", "latest-dkms", "latest-open", "branch-535", "branch-535-open", "branch-550"]
    orders = {(a, b): compare_evr(f"{stream_mark(a)}-1", f"{stream_mark(b)}-1") for a in labels for b in labels}
    assert [pair for pair, order in orders.items() if (order == 0) != (pair[0] == pair[1])] == []


def test_a_stream_is_called_by_what_it_is() -> None:
    known = {s.name: s.label for s in load_matrix(ROOT / "matrix.yaml").streams}
    assert known["r535"] == "branch-535"
    assert known["r580-open-dkms"] == "branch-580-open-dkms"
    assert (known["latest"], known["latest-dkms"]) == ("latest", "latest-dkms")
    assert len(set(known.values())) == len(known)


@pytest.mark.parametrize(
    ("kind", "text", "fault"),
    [
        ("relation", "(a if b)", "the boolean dependency (a if b)"),
        ("relation", "rpmlib(RichDependencies)", "needs rpm's RichDependencies"),
        ("relation", "rpmlib(PayloadIsXz)", None),
        ("relation", "libc.so.6()(64bit)", None),
        ("payload", "zstd 8", "a payload compressed with zstd"),
        ("payload", "xz 12", "digests of kind 12"),
        ("payload", "xz 8", None),
        ("RECOMMENDNAME", "x", "Recommends x"),
        ("TRANSFILETRIGGERNAME", "/lib", "a file trigger on /lib"),
    ],
)
def test_what_rpm_4_11_does_not_know_is_named(kind: str, text: str, fault: str | None) -> None:
    assert judge(kind, text) == fault


TREE = {"stream": "../x", "default": 0, "profiles": {}, "packages": [], "default_profile": "d"}


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ([], "not a record"),
        ({"delivery": "branch-repos"}, "not a record"),
        ({"delivery": "branch-repos", "streams": [TREE]}, "is no name of a stream"),
    ],
)
def test_a_record_that_is_none_of_ours_is_refused(record: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        read_trees(record)


def test_the_support_matrix_tells_the_commands_of_its_delivery() -> None:
    modular = support_matrix(FACTS)["commands"]
    assert modular == [
        "dnf module list nvidia-driver",
        "dnf module install nvidia-driver:latest",
        "dnf module switch-to nvidia-driver:latest-dkms",
    ]
    streams = tuple(replace(s, label={"r535-open": "branch-535-open"}.get(s.name, s.name)) for s in FACTS.streams)
    named = replace(FACTS, delivery="branch-packages", distribution="el7", streams=streams)
    assert support_matrix(named)["commands"] == [
        "yum list 'nvidia-driver-*-release'",
        "yum install nvidia-driver-latest",
        "yum swap nvidia-driver-latest-release nvidia-driver-latest-dkms",
    ]
    trees = support_matrix(replace(FACTS, delivery="branch-repos", distribution="el10"))["commands"]
    assert trees == [
        "dnf install REPOSITORY/el10/x86_64/streams/latest/nvidia-driver-release.rpm",
        "dnf install nvidia-driver cuda-drivers",
        "nvidia-driver-stream latest-dkms",
    ]


def test_the_support_matrix_tells_how_a_host_begins() -> None:
    keys = ("RPM-GPG-KEY-repobuild", "RPM-GPG-KEY-repobuild-2")
    imports = [f"rpm --import REPOSITORY/{name}" for name in keys]
    known = replace(FACTS, key_names=keys, brings_repository=True)
    release = "REPOSITORY/el9/x86_64/nvidia-driver-release.rpm"
    assert support_matrix(known)["begin"] == [*imports, f"dnf --setopt=localpkg_gpgcheck=1 install {release}"]
    assert support_matrix(replace(known, brings_repository=False))["begin"] == []  # a .repo file has to be copied
    assert support_matrix(replace(known, delivery="branch-repos"))["begin"] == imports
    publication = CurrentPublication(digest=None, document=support_matrix(known))
    page = support_page(site_document([publication], {}, place=SITE))
    assert f"<code>rpm --import {SITE}/{keys[0]}</code>" in page.decode()


@pytest.mark.parametrize("name", ["nvidia-driver-stream", "nvidia-driver-stream-packages", "nvidia-kmod-join"])
def test_the_script_is_sh(name: str) -> None:
    path = spec_source(name).path
    assert subprocess.run(["sh", "-n", path], check=False).returncode == 0
