"""Signed modules and levels of qualification, as a release engineer uses them: what is asked for, held back, re-signed.

One job on the kernel that boots quickest; every test works on it or on a copy.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.pack import read_modules
from builder.sign.modules import ModuleCertificate
from builder.store import LOCK_FILE
from builder.store.files import write_atomic
from builder.store.store import KINDS
from builder.tools.rpms import read_header
from tests.conftest import PROGRAM, Job, make_job
from tests.lab.client import BASE_URL, make_client
from tests.lab.distro import LabDistro
from tests.lab.kernels import LabKernel
from tests.lab.light import make_light
from tests.lab.matrix import stream
from tests.need import need
from tests.tools.listed import listed_rpms
from tests.tools.qualifying import need_qemu

SECURE, PLAIN, REFUSED = "535.261.03", "550.163.01", "570.211.01"
STREAMS = (
    stream("r535-open", "535", "open", default=True),
    stream("r550-open", "550", "open"),
    stream("r570-open", "570", "open"),
)
LEVELS = {"level": "static", "streams": {"r535-open": "secureboot", "r570-open": "boot"}}
FIRST, SECOND = "first signer of a test", "second signer of a test"


def units_of(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Units of a run by the part of their id before the kernel, cells only."""
    return {u["id"].partition("@")[0]: u for u in document["units"] if u["kind"] == "kmod-nvidia"}


def streams_of(document: Mapping[str, Any]) -> dict[str, list[str]]:
    (distribution,) = document["distributions"]
    return {s["stream"]: s["drivers"] for s in distribution["streams"]}


def kmods_of(job: Job) -> set[str]:
    """File names of the kmod packages that are published."""
    return {path.name for path in listed_rpms(job.published, "kmod-nvidia-")}


def serials(job: Job) -> set[int]:
    """First parts of the Releases of the kmod packages that are published."""
    headers = [read_header(path) for path in listed_rpms(job.published, "kmod-nvidia-")]
    return {int(header.nevra.evr.release.partition(".")[0]) for header in headers}


def support_of(job: Job) -> dict[str, Any]:
    return dict(json.loads((job.published / "support-matrix.json").read_text()))


def cell_of(job: Job, branch: str) -> str:
    (kernel,) = yaml.safe_load(job.config.read_text())["kernels"]
    return f"r{branch}-open@{kernel['release']}"


def modules_of(job: Job, driver: str) -> Path:
    """Where the store has a driver's modules for the one kernel; those for others are there, too."""
    release = cell_of(job, "").partition("@")[2]
    units = {folder: read_modules(folder).unit_id for folder in (job.work / "store/modules").iterdir()}
    (folder,) = [f for f, unit in units.items() if f"/{driver}/" in unit and unit.endswith(f"/{release}")]
    return folder


def compiled(job: Job) -> dict[str, int]:
    """Every compilation in the store with the time it was described: another one would add or replace a folder."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (job.work / "store/modules").glob("*/modules.json")}


def qualify_all_alike(job: Job, level: str) -> None:
    document = yaml.safe_load(job.config.read_text())
    document["qualification"] = {"level": level}
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))


@pytest.fixture(scope="module")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Certificates of two signers, each with its key beside it."""
    folder = tmp_path_factory.mktemp("signers")
    made = {FIRST: str(folder / "first.pem"), SECOND: str(folder / "second.pem")}
    for name, path in made.items():
        subprocess.run([PROGRAM, "key", "new-module", "--cert", path, "--name", name], check=True)
    return made


@pytest.fixture(scope="module")
def kernel(lab: LabDistro) -> LabKernel:
    return next(k for k in lab.kernels if k.variant == "cloud")


@pytest.fixture(scope="module")
def first(
    tmp_path_factory: pytest.TempPathFactory,
    lab: LabDistro,
    keys: Path,
    kernel: LabKernel,
    certificates: dict[str, str],
    whole: Job,
) -> tuple[Job, dict[str, Any]]:
    """The job after its first run, and what that run said."""
    need("openssl", "zstd")
    need_qemu(secure=True)
    drivers = make_light([SECURE, PLAIN, REFUSED], refusing=[REFUSED])
    narrow: dict[str, Any] = {"kernels": [kernel.release], "flavors": ["open"], "qualification": LEVELS}
    job = make_job(tmp_path_factory.mktemp("signed"), lab, drivers, keys, streams=STREAMS, like=whole, **narrow)
    return job, job.json("matrix", "--module-cert", certificates[FIRST], code=70)


def test_a_stream_gets_the_level_it_asks_for_and_the_support_matrix_says_so(
    first: tuple[Job, dict[str, Any]], kernel: LabKernel, certificates: dict[str, str]
) -> None:
    job, document = first
    job.verify()
    support = support_of(job)
    certificate = ModuleCertificate.read(Path(certificates[FIRST]))
    assert support["signer"] == {"name": FIRST, "sha256": certificate.fingerprint}
    (row,) = [k for k in support["kernels"] if k["release"] == kernel.release]
    offers = {name: (offer["state"], offer["level"]) for name, offer in row["streams"].items()}
    assert offers["r535-open"] == ("published", "secureboot")
    assert offers["r550-open"] == ("published", "static")
    checks = {c["name"]: c["outcome"] for c in units_of(document)["r535-open"]["checks"]}
    assert {"secureboot: lockdown", "secureboot: nvidia"} <= set(checks)
    assert set(checks.values()) == {"ok"}


def test_a_driver_that_its_kernel_refuses_is_held_back_with_the_kernels_words(
    first: tuple[Job, dict[str, Any]], certificates: dict[str, str]
) -> None:
    job, document = first
    unit = units_of(document)["r570-open"]
    assert "modprobe: ERROR: could not insert 'nvidia': Input/output error" in unit["reason"]
    assert (unit["ok"], unit["code"], unit["level"]) == (False, "qualify", "boot")
    assert streams_of(document) == {"r535-open": [SECURE], "r550-open": [PLAIN], "r570-open": []}
    assert not [name for name in job.packages() if REFUSED in name]
    (check,) = [c for c in unit["checks"] if c["name"] == "boot: nvidia"]
    assert check["outcome"] == "failed"
    assert any("NVRM: this stand-in refuses its kernel" in line for line in check["evidence"])
    story = job.json("why", unit["id"], "--module-cert", certificates[FIRST])
    assert any(line.startswith("failed: boot: nvidia: modprobe: ERROR: could not insert") for line in story["checks"])
    console = (job.work / "logs" / unit["id"] / "console.log").read_text()
    assert "NVRM: this stand-in refuses its kernel" in console


def test_a_rerun_boots_nothing_again(first: tuple[Job, dict[str, Any]], certificates: dict[str, str]) -> None:
    job, document = first
    before = job.digest()
    done = job.run("matrix", "--json", "--module-cert", certificates[FIRST], code=70)
    assert not re.findall(r": (?:build|qualify) started", done.stderr)
    again = json.loads(done.stdout)
    for name, unit in units_of(document).items():
        assert units_of(again)[name]["checks"] == unit["checks"]
    assert streams_of(again) == streams_of(document)
    assert job.digest() == before


def test_resigning_compiles_nothing_and_hosts_upgrade_to_the_second_signers_modules(
    first: tuple[Job, dict[str, Any]],
    lab: LabDistro,
    kernel: LabKernel,
    certificates: dict[str, str],
    tmp_path: Path,
) -> None:
    job = first[0].copy(tmp_path / "job")
    client = make_client(tmp_path / "client", lab, job.repo, [f"{kernel.core.name}-{kernel.core.evr}"])
    client.use_published()
    client.dnf("module", "install", "nvidia-driver:r550-open")
    assert client.module_field(kernel.release, "signer") == FIRST
    modules, old, before = compiled(job), kmods_of(job), serials(job)
    qualify_all_alike(job, "static")  # a second boot would prove nothing new here
    signing = ("--module-cert", certificates[SECOND], "--gnupghome", str(job.keys), "--base-url", BASE_URL)
    units = units_of(job.json("resign", *signing))
    assert {u["reason"] for u in units.values()} == {"built"}
    assert compiled(job) == modules
    job.verify()
    assert len(kmods_of(job)) == len(units)
    assert not kmods_of(job) & old
    assert serials(job) == {serial + 1 for serial in before}
    assert support_of(job)["signer"]["name"] == SECOND
    client.dnf("upgrade", "--refresh")
    for module in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem"):
        assert client.module_field(kernel.release, "signer", module) == SECOND
    client.run("nvidia-kmod-join", "--verify")


def test_what_cannot_be_packed_for_a_signer_is_never_taken_from_another(
    first: tuple[Job, dict[str, Any]], certificates: dict[str, str], tmp_path: Path
) -> None:
    job = first[0].copy(tmp_path, kinds=[kind for kind in KINDS if kind != "modules"])
    qualify_all_alike(job, "static")
    (job.work / "store/modules").mkdir()
    for folder in (first[0].work / "store/modules").iterdir():
        if PLAIN not in read_modules(folder).unit_id:
            subprocess.run(["cp", "-al", folder, job.work / "store/modules"], check=True)
    old = kmods_of(job)
    signing = ("--module-cert", certificates[SECOND], "--gnupghome", str(job.keys), "--base-url", BASE_URL)
    document = job.json("resign", *signing, code=70)
    unit = units_of(document)["r550-open"]
    assert (unit["ok"], unit["code"], unit["rpms"]) == (False, "build", [])
    assert "its modules were not compiled before, and this run compiles nothing" in unit["reason"]
    assert streams_of(document)["r535-open"] == [SECURE]
    assert streams_of(document)["r550-open"] == []
    assert not kmods_of(job) & old
    job.verify()


def test_a_second_build_needs_nothing_but_what_was_locked_and_is_the_same_byte_for_byte(
    first: tuple[Job, dict[str, Any]], certificates: dict[str, str], tmp_path: Path
) -> None:
    """The repositories are gone; what cannot be had is named before anything is built; what was had once is kept."""
    job = first[0].copy(tmp_path)
    cell = cell_of(job, "550")
    document = yaml.safe_load(job.config.read_text())
    for repository in document["distributions"]["lab9"]["buildroot"]["repositories"]:
        repository["baseurl"] = str(tmp_path / "gone")
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))
    folder = modules_of(job, PLAIN)
    lock = json.loads((folder / LOCK_FILE).read_text())
    altered, away, *others = lock["buildroot"]["rpms"]
    digest, url = altered["sha256"], away["url"]
    altered["sha256"] = "0" * 64
    away["url"] += ".gone"
    write_atomic(folder / LOCK_FILE, json.dumps(lock).encode())
    words = ("--module-cert", certificates[FIRST], "--rebuild", cell, "--hermetic")
    error = job.json("verify", *words, code=51)["error"]
    assert error["message"] == f"{cell}: 2 of the packages that it was compiled with cannot be had any more"
    first_fault, second_fault = error["details"]
    assert first_fault.startswith(f"{altered['name']}-")
    assert first_fault.endswith("has other bytes than the lock says")
    assert second_fault.startswith(f"{away['name']}-")
    altered["sha256"], away["url"] = digest, url
    for rpm in others:
        rpm["url"] = f"{tmp_path.as_uri()}/gone/{rpm['url'].rpartition('/')[2]}"
    write_atomic(folder / LOCK_FILE, json.dumps(lock).encode())
    same = job.json("verify", *words)[cell]
    assert {name for name in same if name.endswith(".ko")} == {
        f"{name}.ko" for name in ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
    }
    (rpm,) = [name for name in same if name.endswith(".rpm")]
    assert rpm.startswith("kmod-nvidia-")
    assert compiled(job) == compiled(first[0])


def test_secureboot_without_a_certificate_is_told_as_such(first: tuple[Job, dict[str, Any]], tmp_path: Path) -> None:
    job = first[0].copy(tmp_path)
    before = job.digest()
    document = job.json("matrix", "--select", cell_of(job, "550"), "--level", "secureboot", code=70)
    unit = units_of(document)["r550-open"]
    assert (unit["ok"], unit["code"]) == (False, "qualify")
    assert "this run signs no modules (--module-cert)" in unit["reason"]
    assert job.digest() == before
