"""What a run publishes beside its packages, and a change of keys declared in matrix.yaml, by the program itself."""

from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from builder.publish.manifest import MANIFEST, read_manifest
from builder.tools.gpg import detached_fault, fingerprint_of
from builder.tools.rpmsign import signature_faults
from tests.conftest import PROGRAM, Job


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.fixture(scope="module")
def released(whole: Job) -> Any:
    """The statement about the older driver."""
    return json.loads((whole.published / "nvidia-driver-535.261.03.provenance.json").read_text())


def test_provenance_names_the_very_packages_sources_kernel_and_compiler(whole: Job, released: Any) -> None:
    rpms = {path.name: sha256(path) for path in whole.published.glob("Packages/*/*.rpm")}
    subjects = {s["name"]: s["digest"]["sha256"] for s in released["subject"]}
    assert subjects == {name: rpms[name] for name in subjects}
    assert {name for name in rpms if "535.261.03" in name} <= set(subjects)
    definition = released["predicate"]["buildDefinition"]
    dependencies = {d["name"]: d for d in definition["resolvedDependencies"]}
    lock = yaml.safe_load((whole.config.parent / "matrix.lock.yaml").read_text())
    (pin,) = [p for p in lock["pins"] if "535.261.03" in p["url"] and p["url"].endswith(".run")]
    assert dependencies[pin["url"].rsplit("/", 1)[-1]]["digest"]["sha256"] == pin["sha256"]
    (kernel,) = definition["externalParameters"]["kernels"]
    (devel,) = [d for d in dependencies.values() if (d.get("annotations") or {}).get("kernel_release") == kernel]
    assert "gcc" in devel["annotations"]["compiler"]
    inputs = [json.loads(path.read_text()) for path in (whole.work / "store/results").glob("*/inputs.json")]
    assert devel["digest"]["sha256"] in {i["modules"]["devel"] for i in inputs if i["modules"]}
    assert dependencies["buildroot"]["digest"]["sha256"] in {i["parts"]["buildroot"] for i in inputs}
    assert released["predicate"]["runDetails"]["builder"]["id"].startswith("urn:repobuild:builder:")


def test_each_driver_has_a_signed_statement_and_a_valid_bill_of_materials(whole: Job) -> None:
    key = (whole.repo / "RPM-GPG-KEY-repobuild").read_bytes()
    listed = {file.path for file in read_manifest((whole.published / MANIFEST).read_bytes()).files}
    for version in ("535.261.03", "550.163.01"):
        statement = whole.published / f"nvidia-driver-{version}.provenance.json"
        assert detached_fault(key, statement, statement.with_suffix(".json.asc")) is None
        bill = whole.published / f"nvidia-driver-{version}.cdx.json"
        assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(bill.read_text()) is None
        names = {s["name"] for s in json.loads(statement.read_text())["subject"]}
        components = {c["bom-ref"] for c in json.loads(bill.read_text())["components"]}
        assert names == {name for name in components if name.endswith(".rpm")}
        assert {statement.name, f"{statement.name}.asc", bill.name} <= listed


def test_a_key_declared_for_a_day_takes_over_and_a_rollback_gets_a_new_number(whole: Job, tmp_path: Path) -> None:
    home = tmp_path / "keys"
    shutil.copytree(whole.keys, home)
    job = replace(whole.copy(tmp_path / "job"), keys=home)
    former = (whole.repo / "RPM-GPG-KEY-repobuild").read_bytes()
    made = subprocess.run(
        [PROGRAM, "key", "new", "--gnupghome", home, "--name", "next", "--json"], capture_output=True, check=True
    )
    fingerprint = json.loads(made.stdout)["fingerprint"]
    export = ["gpg", "--homedir", str(home), "--armor", "--export", fingerprint]
    following = subprocess.run(export, capture_output=True, check=True).stdout
    (job.config.parent / "former.asc").write_bytes(former)
    (job.config.parent / "next.asc").write_bytes(following)

    def declare(day: str) -> None:
        document = yaml.safe_load(job.config.read_text())
        document["integrity"] = {"keys": [{"file": "former.asc"}, {"file": "next.asc", "from": day}]}
        job.config.write_text(yaml.safe_dump(document, sort_keys=False))

    def look(*keys: bytes, code: int = 0, place: Path = job.published) -> Any:
        words = [
            str(PROGRAM),
            "verify",
            str(place),
            "--state",
            str(tmp_path / "seen.json"),
            "--quick",
            "--json",
        ]
        for number, key in enumerate(keys):
            (tmp_path / f"{number}.asc").write_bytes(key)
            words += ["--key", str(tmp_path / f"{number}.asc")]
        done = subprocess.run(words, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == code, done.stderr
        return json.loads(done.stdout)

    before = {path.name: sha256(path) for path in job.published.glob("Packages/*/*.rpm")}
    declare("9999-12-31")
    job.run("publish")
    overlap = job.digest()
    found = look(former)
    assert (found["key"], found["sequence"]) == (fingerprint_of(former), 2)
    assert len([w for w in (job.repo / "lab9.repo").read_text().split() if "RPM-GPG-KEY-repobuild" in w]) == 2
    declare("2020-01-01")
    job.run("publish")
    found = look(following)
    assert (found["key"], found["sequence"]) == (fingerprint, 3)
    look(former, code=55)
    after = {path.name: sha256(path) for path in job.published.glob("Packages/*/*.rpm")}
    told = set(after) - set(before)  # once, when hosts were told of the next key; by the one that they have
    assert told == {"nvidia-driver-release-9-2.lab9.x86_64.rpm"}
    assert {name: after[name] for name in before} == before
    assert sha256(job.published / "nvidia-driver-release.rpm") == after[told.pop()]
    (tmp_path / "k").mkdir()
    assert signature_faults(sorted(job.published.glob("Packages/*/*.rpm")), [former], tmp_path / "k") == {}
    job.run("rollback", "lab9", overlap[:12])  # without the key: dnf follows, who verifies is told
    assert look(former, following, code=56)["error"]["code"] == "rolled-back"
    assert any(
        "support-matrix" in line for line in look(former, following, code=56, place=job.repo)["error"]["details"]
    )
    job.run("rollback", "lab9", overlap[:12], "--gnupghome", str(home))
    assert look(former, following)["sequence"] == 4
    top = look(former, following, place=job.repo)
    assert [one["sequence"] for one in top["publications"]] == [4]
    signed = {file["path"] for file in json.loads((job.repo / "site-manifest.json").read_text())["files"]}
    assert {"support-matrix.html", "support-matrix.json", "feed.atom", "events.json", "lab9.repo"} <= signed
