"""``delivery: branch-repos``: the same cells, published as a tree a stream; an admin without modules lives in it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.conftest import Job
from tests.lab.client import Client, make_client
from tests.lab.distro import CUDA, LabDistro

VERSIONS = {"latest": "550.163.01", "r535-open": "535.261.03"}


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


@pytest.fixture(scope="module")
def client(published: Job, lab: LabDistro, generic: list[str], tmp_path_factory: pytest.TempPathFactory) -> Client:
    kernels = [f"{k.core.name}-{k.core.evr}" for k in lab.kernels if k.release == generic[0]]
    client = make_client(tmp_path_factory.mktemp("client") / "root", lab, published.repo, [*kernels, "cuda"])
    client.run("rpm", "--import", "/srv/repobuild/RPM-GPG-KEY-repobuild")
    client.dnf("install", "/srv/repobuild/lab9/x86_64/nvidia-driver-release.rpm")
    return client


def test_each_tree_is_whole_and_a_second_run_publishes_nothing_new(published: Job) -> None:
    published.verify()
    before = published.digest()
    document = published.json("matrix")
    assert {u["reason"] for u in document["units"]} == {"reused"}
    assert published.digest() == before
    report = published.run("report").stdout
    assert "lab9/x86_64 use: nvidia-driver-stream r535-open" in report


def test_an_admin_installs_switches_down_and_back_with_one_command_each(
    client: Client, published: Job, generic: list[str]
) -> None:
    before = {name: client.install_time(name) for name in ("cuda", CUDA)}
    client.dnf("install", "nvidia-driver", "nvidia-driver-cuda", "cuda-drivers")
    for step in ("latest", "r535-open", "latest"):
        if client.run("nvidia-driver-stream").stdout.strip() != step:
            client.run("nvidia-driver-stream", step, "-y")
        module = client.module(generic[0])
        assert module is not None
        assert (module.version, module.vermagic) == (VERSIONS[step], generic[0])
        assert {q.rpartition("-")[0].rpartition("-")[2] for q in client.query("-a") if "nvidia" in q} == {
            VERSIONS[step]
        }
        assert {name: client.install_time(name) for name in before} == before


def test_a_kernel_without_a_module_is_held_back_and_the_rest_upgraded(
    client: Client, lab: LabDistro, generic: list[str]
) -> None:
    newer = next(k for k in lab.kernels if k.release == generic[1])
    done = client.dnf("install", f"{newer.core.name}-{newer.core.evr}", ok=(1,))
    assert "nvidia-kmod-common" in done.stdout + done.stderr
    client.dnf("upgrade", "--nobest", "--exclude=cuda*")
    assert not [q for q in client.query(newer.core.name) if newer.core.evr in q]


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
