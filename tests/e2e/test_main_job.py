"""matrix.yaml in, a signed module repository out, an admin installs and switches streams."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from tests.conftest import STREAMS, Job, make_job
from tests.lab.client import Client, make_client
from tests.lab.distro import CUDA, LabDistro
from tests.lab.light_archives import with_archives
from tests.lab.runfile import LabDriver

EXPECTED = {  # stream → driver version and licence of what each kernel gets
    "r535": ("535.261.03", "Proprietary"),
    "r535-open": ("535.261.03", "Dual MIT/GPL"),
    "r550-open": ("550.163.01", "Dual MIT/GPL"),
    "latest": ("550.163.01", "Dual MIT/GPL"),
}


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory,
    lab: LabDistro,
    light: list[LabDriver],
    keys: Path,
    generic: list[str],
    whole: Job,
) -> Job:
    folder = tmp_path_factory.mktemp("main")
    drivers = [with_archives(driver, folder / "archives", ["fabricmanager"]) for driver in light]
    streams = [with_fm(one) for one in STREAMS]
    job = make_job(folder, lab, drivers, keys, streams=streams, kernels=generic, like=whole, kinds=["roots"])
    document = job.json("matrix")
    units = {u["id"]: u for u in document["units"]}
    assert all(u["ok"] and u["reason"] == "built" for u in units.values()), units
    assert {u["id"] for u in units.values() if u["kind"] == "kmod-nvidia"} == {
        f"{name}@{kernel}" for name in ("r535", "r535-open", "r550-open") for kernel in generic
    }
    (distribution,) = document["distributions"]
    assert {s["stream"]: s["drivers"] for s in distribution["streams"]} == {
        **{name: [version] for name, (version, _) in EXPECTED.items()},
        **{name: ["535.261.03", "550.163.01"] for name in ("latest", "latest-dkms")},
    }
    return job


def with_fm(one: dict[str, Any]) -> dict[str, Any]:
    """The stream with the profiles that only some drivers have the packages of."""
    packages = ["nvidia-driver-cuda", "nvidia-fabricmanager"]
    more = {"fm": {"packages": packages}, "switches": {"packages": [*packages, "libnvidia-nscq"]}}
    return {**one, "profiles": {**one["profiles"], **more}}


@pytest.fixture(scope="module")
def client(published: Job, lab: LabDistro, tmp_path_factory: pytest.TempPathFactory) -> Client:
    kernels = [f"{k.core.name}-{k.core.evr}" for k in lab.kernels if k.variant == "generic"]
    client = make_client(tmp_path_factory.mktemp("client") / "root", lab, published.repo, [*kernels, "cuda"])
    client.use_published()
    return client


def test_a_publication_is_whole(published: Job) -> None:
    published.verify()
    text = (published.repo / "lab9.repo").read_text()
    assert "gpgcheck=1" in text
    assert "repo_gpgcheck=1" in text


def test_beside_each_compiled_cell_lies_the_lock_of_its_root(published: Job, lab: LabDistro) -> None:
    locks = sorted((published.work / "store/modules").glob("*/buildroot_lock.json"))
    assert len(locks) == 6
    kernels = {(k.devel.name, k.devel.evr) for k in lab.kernels}
    found = set()
    for path in locks:
        rpms = json.loads(path.read_text())["buildroot"]["rpms"]
        assert {len(rpm["sigmd5"]) for rpm in rpms} == {32}
        assert len({(r["name"], f"{r['version']}-{r['release']}") for r in rpms} & kernels) == 1
        found |= {(rpm["url"].removeprefix("file://"), rpm["sha256"]) for rpm in rpms}
    assert all(hashlib.sha256(Path(url).read_bytes()).hexdigest() == sha256 for url, sha256 in found)


def test_a_second_run_reuses_everything_and_publishes_nothing_new(published: Job) -> None:
    before = published.digest()
    document = published.json("matrix")
    assert {u["reason"] for u in document["units"]} == {"reused"}
    assert document["distributions"][0]["publication"]["changed"] is False
    assert published.digest() == before


def test_a_plan_says_why_for_every_cell(published: Job) -> None:
    document = published.json("plan")
    assert document["counts"]["reuse"] == len(document["cells"]) + len(document["packages"])
    assert all(row["reason"] and row["key"] for row in document["cells"])


def test_one_cell_can_be_explained(published: Job, generic: list[str]) -> None:
    story = published.json("why", f"r535-open@{generic[0]}")
    assert story["decision"] == "reuse"
    assert any(line.startswith("ok: static: imports") for line in story["checks"])
    near = published.run("why", "r535-opne@x", code=4)
    assert "no such cell" in near.stderr


def test_status_and_report_tell_what_is_current(published: Job) -> None:
    assert published.json("status")["publications"] == {"lab9/x86_64": published.digest()}
    (matrix,) = published.json("report")["support_matrix"]
    assert {s["name"] for s in matrix["streams"]} == {*EXPECTED, "latest-dkms"}


def test_the_client_sees_latest_as_default(client: Client) -> None:
    listed = client.dnf("module", "list", "nvidia-driver").stdout
    assert "latest [d]" in " ".join(listed.split())


def test_streams_are_switched_in_one_transaction_without_touching_cuda(client: Client, generic: list[str]) -> None:
    before = {name: client.install_time(name) for name in ("cuda", CUDA)}
    steps = [("install", "r535-open"), *(("switch-to", s) for s in ("latest", "r535", "r550-open"))]
    for verb, stream in steps:
        client.dnf("module", verb, f"nvidia-driver:{stream}")
        version, license_ = EXPECTED[stream]
        for release in generic:
            module = client.module(release)
            assert module is not None, f"{stream}: {release} has no module"
            assert (module.version, module.vermagic, module.license) == (version, release, license_)
        assert {name: client.install_time(name) for name in before} == before
        kmods = [q for q in client.query("-a") if q.startswith("kmod-nvidia-")]
        assert len(kmods) == len(generic)


def test_dkms_and_back_leaves_no_precompiled_module_behind(client: Client, generic: list[str]) -> None:
    client.dnf("module", "switch-to", "nvidia-driver:latest-dkms")
    assert not [q for q in client.query("-a") if q.startswith("kmod-nvidia-")]
    client.dnf("module", "switch-to", "nvidia-driver:latest")
    assert not [q for q in client.query("-a") if q.startswith("dkms-nvidia")]
    for release in generic:
        module = client.module(release)
        assert module is not None
        assert module.version == EXPECTED["latest"][0]


def test_fabric_manager_and_32_bit_libraries_come_when_asked_for_and_go_along(
    published: Job, client: Client, generic: list[str]
) -> None:
    (matrix,) = published.json("report")["support_matrix"]
    assert {tuple(s["profiles"]) for s in matrix["streams"]} == {("default", "ks", "fm")}  # no driver has NSCQ
    assert not [q for q in client.query("-a") if q.endswith(".i686")]
    client.dnf("module", "switch-to", "nvidia-driver:r550-open")
    client.dnf("module", "install", "nvidia-driver:r550-open/fm")
    client.dnf("install", "nvidia-driver-cuda-libs.i686")
    client.dnf("module", "switch-to", "nvidia-driver:r535-open")
    found = client.query("nvidia-fabricmanager", "nvidia-driver-cuda-libs.i686", "nvidia-driver-cuda-libs.x86_64")
    assert len(found) == 3
    assert all("-535.261.03-" in line for line in found)
    client.dnf("remove", "nvidia-fabricmanager", "nvidia-driver-cuda-libs.i686")
    client.dnf("module", "switch-to", "nvidia-driver:latest")
    assert client.module(generic[0]) is not None


def test_a_stream_says_which_gpus_it_does_not_drive(published: Job, client: Client) -> None:
    """To people in its description, to machines in a file of the publication and in a package."""
    listed = " ".join(client.dnf("module", "info", "nvidia-driver:r550-open").stdout.replace(":", " ").split())
    assert "1 GPU model (NVIDIA GeForce GTX 970) needs the proprietary modules." in listed
    file = json.loads((published.published / "supported-gpus.json").read_text())
    devices = {name: [gpu["device"] for gpu in s["driven"]] for name, s in file["streams"].items()}
    assert devices["r535"] == ["13c2", "1e07", "2484"]
    assert devices["r535-open"] == ["1e07", "2484"]
    client.dnf("install", "nvidia-driver-cuda")
    assert "0x1E07" in (client.root / "usr/share/nvidia/supported-gpus.json").read_text()


def test_an_altered_package_is_refused_by_the_client(
    published: Job, lab: LabDistro, client: Client, tmp_path: Path
) -> None:
    bad = tmp_path / "repo"
    shutil.copytree(published.repo, bad, symlinks=True)
    rpm = next((bad / "lab9/x86_64").resolve().glob("Packages/**/kmod-nvidia-*535*.open.*.rpm"))
    data = bytearray(rpm.read_bytes())
    data[-100] ^= 0xFF
    rpm.write_bytes(data)
    evil = Client(root=client.root, distro=lab, repo=bad)
    done = evil.dnf("module", "switch-to", "nvidia-driver:r535-open", "--refresh", ok=(1,))
    assert "checksum" in (done.stdout + done.stderr).lower()
