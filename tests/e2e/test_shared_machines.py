"""Machines that share a store: the second builds nothing and publishes the same; what is damaged is built again."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.store.objects import read_description
from tests.conftest import Job
from tests.s3 import SECRET, make_bucket, s3_server

MADE_HERE = ("prepared", "roots")  # what each machine makes for itself, linked here to save the time


@pytest.fixture(scope="module")
def share(tmp_path_factory: pytest.TempPathFactory, whole: Job) -> str:
    """A folder to which a machine gave what it had built before it shared anything."""
    folder = tmp_path_factory.mktemp("share")
    first = whole.copy(tmp_path_factory.mktemp("first") / "job")
    said = first.run("matrix", "--store", folder.as_uri()).stderr
    assert f"0 objects taken, {len(list((first.work / 'store/results').iterdir()))} given" in said
    assert first.digest() == whole.digest()
    return folder.as_uri()


def objects(share: str) -> list[Path]:
    return sorted(Path(share.removeprefix("file://")).glob("objects/results/*.json"))


def test_a_second_machine_builds_nothing_and_publishes_the_same(tmp_path: Path, whole: Job, share: str) -> None:
    second = whole.copy(tmp_path / "job", kinds=MADE_HERE, done=False)
    done = second.run("matrix", "--json", "--store", share)
    assert {unit["reason"] for unit in json.loads(done.stdout)["units"]} == {"reused"}
    assert ": build started" not in done.stderr
    assert "results taken" in done.stderr
    assert second.digest() == whole.digest()
    second.verify()
    assert {path.parent.name for path in Path(share.removeprefix("file://")).rglob("*.json")} == {
        Path(share).name,
        "results",
    }
    everything = b"".join(p.read_bytes() for p in Path(share.removeprefix("file://")).rglob("*") if p.is_file())
    assert b"PRIVATE KEY" not in everything


def test_a_damaged_package_is_refused_and_built_again_and_the_store_mended(
    tmp_path: Path, whole: Job, share: str
) -> None:
    for description in objects(share):
        files = read_description(description.read_bytes(), "results", description.stem)
        rpm = next((f for f in files if f.path.startswith("nvidia-open-550") and not f.path.endswith(".src.rpm")), None)
        if rpm is not None:
            break
    assert rpm is not None
    data = Path(share.removeprefix("file://")) / rpm.data
    whole_bytes = data.read_bytes()
    data.write_bytes(whole_bytes[:-1] + b"!")
    third = whole.copy(tmp_path / "job", kinds=MADE_HERE, done=False)
    done = third.run("matrix", "--json", "--store", share)
    assert f"is damaged in the shared store and not used: {rpm.path}: sha256 " in done.stderr
    built = [unit["id"] for unit in json.loads(done.stdout)["units"] if unit["reason"] == "built"]
    assert built == ["nvidia-open:550.163.01@lab9.x86_64"]
    assert third.digest() == whole.digest()
    assert data.read_bytes() == whole_bytes


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """An S3 server, and its bucket's URL; the endpoint and the keys are in the environment."""
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        make_bucket("machines")
        yield "s3://machines/lab"


def test_two_machines_at_once_and_one_after_them_share_a_bucket(tmp_path: Path, whole: Job, bucket: str) -> None:
    machines = [whole.copy(tmp_path / name, kinds=MADE_HERE, done=False) for name in ("one", "two")]
    select = ("--store", bucket, "--store-required", "--select", "cuda-drivers:550*")
    running = [
        subprocess.Popen(job.argv("build", "--json", *select), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for job in machines
    ]
    said = [process.communicate(timeout=600) for process in running]
    assert [process.returncode for process in running] == [0, 0], said
    keys = {unit["key"] for out, _ in said for unit in json.loads(out)["units"] if unit["ok"] or unit["key"]}
    assert len(keys) == 1
    third = whole.copy(tmp_path / "three", kinds=MADE_HERE, done=False)
    document = third.json("build", *select)
    assert {unit["reason"] for unit in document["units"] if unit["key"]} == {"reused"}
    assert SECRET not in "".join(err.decode() for _, err in said)


def test_work_goes_on_without_a_store_that_cannot_be_reached_unless_it_is_required(
    tmp_path: Path, whole: Job, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = whole.copy(tmp_path / "job")
    monkeypatch.setenv("REPOBUILD_STORE", (tmp_path / "not-mounted").as_uri())
    done = job.run("matrix")
    assert "not-mounted: is not there: make it, or mount it; this run goes on without it" in " ".join(
        done.stderr.split()
    )
    assert job.digest() == whole.digest()
    refused = " ".join(job.run("matrix", "--store-required", code=62).stderr.split())
    assert f"{os.environ['REPOBUILD_STORE']}: cannot reach it" in refused
