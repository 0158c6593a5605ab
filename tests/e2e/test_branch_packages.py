"""``delivery: branch-packages``: really built modules, scriptlets and triggers running, on the lab's client.

An admin's year on one host is in test_journey_mirrored.py; here is what else an admin can do, and what can happen. The
client's rpm and dnf are newer than the rpm 4.11 and yum 3 that this is for, which cannot be had here; the packages hold
nothing that those do not know (the publication was verified), so what runs here is what would run there.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from tests.conftest import Job
from tests.lab.client import Client, make_client
from tests.lab.distro import CUDA, LabDistro
from tests.lab.matrix import stream, write_lab_matrix
from tests.lab.runfile import LabDriver

MODULES = ("nvidia", "nvidia_uvm", "nvidia_modeset", "nvidia_drm", "nvidia_peermem")
OLDER, NEWER = "535.261.03", "550.163.01"
STREAMS = (
    stream("r535-open", "535", "open"),
    stream("r535-open-dkms", "535", "open", kmods="dkms"),
    stream("latest", "newest-complete", "open", default=True),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A job without modules, and what its matrix is made of."""

    job: Job
    lab: LabDistro
    drivers: Sequence[LabDriver]

    def publish(self, kernels: Sequence[str]) -> None:
        """Publish with modules for these kernels."""
        folder = self.job.config.parent
        how: dict[str, Any] = {"delivery": "branch-packages", "payload": "w6.xzdio"}
        write_lab_matrix(folder, self.lab, self.drivers, STREAMS, kernels=kernels, flavors=["open"], **how)
        document = self.job.json("matrix")
        assert document["distributions"][0]["error"] is None
        assert document["distributions"][0]["publication"]["changed"] is True

    def package(self, release: str) -> str:
        """The package of a kernel, with its version."""
        kernel = next(k for k in self.lab.kernels if k.release == release)
        return f"{kernel.core.name}-{kernel.core.evr}"

    def tree(self, release: str) -> str:
        """The package of its build tree."""
        kernel = next(k for k in self.lab.kernels if k.release == release)
        return f"{kernel.devel.name}-{kernel.devel.evr}"


@pytest.fixture(scope="module")
def site(
    whole: Job, lab: LabDistro, light: list[LabDriver], generic: list[str], tmp_path_factory: pytest.TempPathFactory
) -> Site:
    made = Site(job=whole.copy(tmp_path_factory.mktemp("named") / "job", done=False), lab=lab, drivers=light)
    made.publish(generic)
    return made


@pytest.fixture(scope="module")
def client(site: Site, generic: list[str], tmp_path_factory: pytest.TempPathFactory) -> Client:
    packages = [site.package(generic[0]), "cuda"]
    made = make_client(tmp_path_factory.mktemp("client") / "root", site.lab, site.job.repo, packages)
    made.run("rpm", "--import", "/srv/repobuild/RPM-GPG-KEY-repobuild")
    made.use_published()
    return made


def check(client: Client, version: str | None, kernels: Sequence[str], label: str = "") -> None:
    """Each kernel has the modules of that version and no other file is there; packages are of one stream."""
    for release in kernels:
        for name in MODULES:
            module = client.module(release, name)
            if version is None:
                assert module is None
            else:
                assert module is not None, f"{release}: no {name}"
                assert (module.version, module.vermagic) == (version, release)
    files = [path for path in client.module_files() if path.endswith(".ko")]
    assert len(files) == (len(MODULES) * len(kernels) if version else 0), files
    assert {p.name for p in (client.root / "usr/lib/modules").iterdir()} == set(kernels)
    ours = [q for q in client.query("-a") if "nvidia" in q]
    assert {q.rpartition("-")[0].rpartition("-")[2] for q in ours} == ({version} if version else set())
    assert [q for q in ours if label not in q] == []


def test_the_publication_is_whole_and_a_second_run_makes_nothing_new(site: Site) -> None:
    site.job.verify()
    before = site.job.digest()
    document = site.job.json("matrix")
    assert {u["reason"] for u in document["units"]} == {"reused"}
    assert site.job.digest() == before
    assert "lab9/x86_64 use: yum install nvidia-driver-latest" in site.job.run("report").stdout
    names = {name.rpartition("-")[0].rpartition("-")[0] for name in site.job.packages()}
    assert {"nvidia-driver-latest", "nvidia-driver-branch-535-open-cuda-libs", "kmod-nvidia-latest"} <= names
    assert not [name for name in names if "-latest" not in name and "-branch-535-open" not in name]


def test_an_admin_lives_in_streams_that_stand_in_package_names(client: Client, site: Site, generic: list[str]) -> None:
    stamps = {name: client.install_time(name) for name in ("cuda", CUDA)}

    def see(version: str | None, kernels: Sequence[str], label: str = "") -> None:
        check(client, version, kernels, label)
        assert {name: client.install_time(name) for name in stamps} == stamps

    first, second = generic
    client.dnf("install", "nvidia-driver-branch-535-open")
    see(OLDER, [first], "branch-535-open")
    assert client.run("rpm", "-V", "kmod-nvidia-branch-535-open").stdout == ""

    # Its module is there already when a kernel comes.
    client.dnf("install", site.package(second))
    see(OLDER, [first, second], "branch-535-open")

    client.run("nvidia-driver-stream", "latest", "-y")
    see(NEWER, [first, second], "latest")
    client.dnf("swap", "nvidia-driver-latest", "nvidia-driver-branch-535-open")
    see(OLDER, [first, second], "branch-535-open")
    client.dnf("swap", "--allowerasing", "nvidia-driver-branch-535-open-release", "nvidia-driver-latest")
    see(NEWER, [first, second], "latest")

    # A kernel leaves with its modules.
    client.dnf("remove", site.package(second))
    see(NEWER, [first], "latest")
    client.dnf("install", site.package(second))
    see(NEWER, [first, second], "latest")

    # A damaged module is noticed and made again.
    module = client.root / f"usr/lib/modules/{first}/extra/nvidia/nvidia.ko"
    module.write_bytes(module.read_bytes()[:-1])
    client.run("rpm", "-V", "kmod-nvidia-latest", ok=(1,))
    assert "is not what was built" in client.run("nvidia-kmod-join", "--verify", ok=(1,)).stderr
    client.run("nvidia-kmod-join")
    see(NEWER, [first, second], "latest")
    assert client.run("rpm", "-V", "kmod-nvidia-latest").stdout == ""

    # A kernel that no dependency could keep out is named.
    unknown = client.root / "usr/lib/modules/6.1.0-48-unknown"
    unknown.mkdir()
    (unknown / "modules.builtin").touch()
    said = client.run("nvidia-kmod-join", "--installed").stderr
    assert "6.1.0-48-unknown: no NVIDIA module for this kernel" in said
    shutil.rmtree(unknown)

    client.dnf("remove", "nvidia-driver-latest-release")
    see(None, [first, second])
    assert not list((client.root / "usr/lib/nvidia-kmod").glob("*"))


def test_dkms_serves_a_kernel_that_comes_later_and_leaves_nothing_behind(
    client: Client, site: Site, generic: list[str]
) -> None:
    """Triggers on packages do what triggers on files do elsewhere."""
    first, second = generic
    client.dnf("install", "nvidia-driver-latest", site.tree(first))
    client.dnf("remove", site.package(second))
    check(client, NEWER, [first], "latest")
    client.run("nvidia-driver-stream", "r535-open-dkms", "-y")
    client.dnf("install", site.package(second), site.tree(second))
    for release in (first, second):
        for name in MODULES:
            module = client.module(release, name)
            assert module is not None, f"{release}: no {name}"
            assert (module.version, module.vermagic) == (OLDER, release)
        assert not (client.root / f"usr/lib/modules/{release}/extra/nvidia").exists()
    assert not (client.root / "var/lib/dkms/nvidia/original_module").exists()
    client.dnf("remove", site.package(second), site.tree(second))
    assert not (client.root / f"usr/lib/modules/{second}").exists()
    client.run("nvidia-driver-stream", "latest", "-y")
    check(client, NEWER, [first], "latest")
    for place in ("var/lib/dkms/nvidia", "var/log/dkms-nvidia", "usr/libexec/dkms-nvidia"):
        assert not (client.root / place).exists()
    assert list((client.root / "usr/src").glob("nvidia-*")) == []
