"""The packages as dnf sees them: streams are switched up, down and sideways in one transaction each.

Small RPMs of the real specs in a modular repository; dnf installs them into an empty root without scriptlets.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.model.matrix import Kmods
from builder.tools.run import Completed, run
from tests.golden import sample
from tests.need import need
from tests.tools.stream_repository import OTHER_KERNEL, STREAMS, STUBS, WITH_MODULES, Repository


@dataclass(frozen=True)
class Client:
    """An empty root with the repository."""

    root: Path
    config: Path

    def dnf(self, *argv: str, plugins: bool = False) -> Completed:
        """The host's dnf; with ``plugins`` those of the root."""
        options: list[str | Path] = ["-y", "-c", self.config, "--installroot", self.root, "--releasever", "9"]
        if plugins:
            (folder,) = {path.parent for path in self.root.glob("usr/lib/python3*/**/dnf-plugins/nvidia.py")}
            options += ["--setopt=plugins=1", f"--setopt=pluginpath={folder}"]
        else:
            options.append("-q")
        try:
            return run(["dnf", *options, *argv], timeout=120)
        except ToolError as exc:
            exc.add_note("\n".join(exc.details))
            raise

    def installed(self) -> dict[str, str]:
        """Version-release by name, stubs left out."""
        query: list[str | Path] = ["rpm", "--root", self.root, "-qa", "--qf", "%{NAME} %{VERSION}-%{RELEASE}\n"]
        pairs = (line.split() for line in run(query, timeout=60).stdout.splitlines())
        return {name: evr for name, evr in pairs if name not in STUBS}

    def compat32(self) -> dict[str, str]:
        """Version-release of the 32-bit packages by name."""
        query: list[str | Path] = ["rpm", "--root", self.root, "-qa", "--qf", "%{NAME} %{ARCH} %{VERSION}-%{RELEASE}\n"]
        found = (line.split() for line in run(query, timeout=60).stdout.splitlines())
        return {name: evr for name, arch, evr in found if arch == "i686"}

    def has(self, **expected: str | None) -> None:
        found = self.installed()
        assert {name: found.get(name.replace("_", "-")) for name in expected} == expected

    def kernels(self) -> list[str]:
        """EVRs of the installed kernels."""
        form = "%{VERSION}-%{RELEASE}\n"
        return run(["rpm", "--root", self.root, "-q", "kernel-core", "--qf", form], timeout=60).stdout.splitlines()

    def kmods(self) -> set[str]:
        return {evr for name, evr in self.installed().items() if name.startswith("kmod-nvidia")}


@pytest.fixture(scope="module")
def repository(streams: Repository) -> Path:
    need("dnf")
    return streams.folder


@pytest.fixture
def client(repository: Path, tmp_path: Path) -> Client:
    """A root with two kernels; nothing of the driver yet."""
    config = tmp_path / "dnf.conf"
    lines = ["[main]", "best=1", "gpgcheck=0", "tsflags=noscripts", "reposdir=/dev/null", "plugins=0"]
    lines += [
        "module_platform_id=platform:el9",
        f"cachedir={tmp_path}/cache",
        f"logdir={tmp_path}",
        f"persistdir={tmp_path}/var",
    ]
    lines += ["[streams]", "name=streams", f"baseurl={repository.as_uri()}", ""]
    config.write_text("\n".join(lines))
    client = Client(tmp_path / "root", config)
    client.dnf("install", *(f"kernel-core-{k.core.evr}" for k in WITH_MODULES))
    return client


def test_an_install_brings_the_module_of_each_installed_kernel(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r535")
    assert client.kmods() == {"535.261.03-1.el9"}
    assert len([name for name in client.installed() if name.startswith("kmod-nvidia")]) == 2
    client.has(nvidia_driver="535.261.03-1.el9", nvidia_kmod_common="535.261.03-1.el9", dkms_nvidia=None)


@pytest.mark.parametrize("start", list(STREAMS))
def test_any_stream_is_switched_to_any_other_in_one_transaction_and_cuda_stays(start: str, client: Client) -> None:
    client.dnf("module", "install", f"nvidia-driver:{start}")
    client.dnf("install", "cuda-toolkit")
    stamp: list[str | Path] = [
        "rpm",
        "--root",
        client.root,
        "-q",
        "--qf",
        "%{INSTALLTIME} %{INSTALLTID}",
        "cuda-toolkit",
    ]
    before = run(stamp, timeout=60).stdout
    for target in [name for name in STREAMS if name != start]:
        for stream in (target, start):
            client.dnf("module", "switch-to", f"nvidia-driver:{stream}")
            driver, flavor, kmods = STREAMS[stream]
            tag = f"{driver.version}-1{flavor.release_tag}"
            if kmods is Kmods.DKMS:
                client.has(dkms_nvidia=f"{tag}.el9", nvidia_kmod_common=f"{tag}.dkms.el9", nvidia_kmod_objects=None)
                assert client.kmods() == set()
            else:
                client.has(dkms_nvidia=None, nvidia_kmod_common=f"{tag}.el9", nvidia_kmod_objects=f"{tag}.el9")
                assert client.kmods() == {f"{tag}.el9"}
            client.has(nvidia_driver=f"{driver.version}-1.el9", cuda_drivers=f"{driver.version}-1.el9")
    assert run(stamp, timeout=60).stdout == before


def test_32_bit_libraries_come_only_when_asked_for_and_then_go_along_with_every_switch(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r550")
    assert client.compat32() == {}
    client.dnf("install", "nvidia-driver-libs.i686", "nvidia-driver-cuda-libs.i686")
    names = ("nvidia-driver-libs", "nvidia-driver-cuda-libs")
    assert client.compat32() == dict.fromkeys(names, "550.163.01-1.el9")
    for stream, version in (("r535-open", "535.261.03"), ("r550-dkms", "550.163.01"), ("r535", "535.261.03")):
        client.dnf("module", "switch-to", f"nvidia-driver:{stream}")
        assert client.compat32() == dict.fromkeys(names, f"{version}-1.el9")
        client.has(nvidia_driver=f"{version}-1.el9")
    client.dnf("remove", "nvidia-driver-libs.i686")
    client.has(nvidia_driver_libs="535.261.03-1.el9")


def test_32_bit_libraries_need_no_driver_and_do_not_stand_in_for_the_64_bit_ones(client: Client) -> None:
    """As in containers; a driver that comes later brings its own libraries."""
    client.dnf("module", "enable", "nvidia-driver:r535")
    client.dnf("install", "nvidia-driver-libs.i686")
    assert set(client.installed()) - {"kernel-core"} == {"nvidia-driver-libs"}
    client.dnf("module", "install", "nvidia-driver:r535")
    query: list[str | Path] = ["rpm", "--root", client.root, "-q", "nvidia-driver-libs", "--qf", "%{ARCH}\n"]
    assert sorted(run(query, timeout=60).stdout.split()) == ["i686", "x86_64"]


def test_the_fabric_manager_follows_every_switch_and_never_stands_beside_another_driver(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r550/fm")
    evr = "550.163.01-1.el9"
    client.has(nvidia_fabricmanager=evr, libnvidia_nscq=evr, nvidia_driver=evr)
    for stream, version in (("r535-open", "535.261.03"), ("r550-dkms", "550.163.01"), ("r535", "535.261.03")):
        client.dnf("module", "switch-to", f"nvidia-driver:{stream}")
        evr = f"{version}-1.el9"
        client.has(nvidia_fabricmanager=evr, libnvidia_nscq=evr, nvidia_driver=evr)
    client.dnf("remove", "nvidia-fabricmanager")
    client.has(nvidia_fabricmanager=None, nvidia_driver="535.261.03-1.el9")


def test_former_names_of_the_fabric_manager_still_install_it(client: Client) -> None:
    client.dnf("module", "enable", "nvidia-driver:r535")
    client.dnf("install", "nvidia-fabric-manager", "libnvidia-nscq-535")
    client.has(nvidia_fabricmanager="535.261.03-1.el9", libnvidia_nscq="535.261.03-1.el9")


COMPUTE = [("module", "install", "nvidia-driver:r550/headless"), ("install", "nvidia-driver-cuda")]


@pytest.mark.parametrize("words", COMPUTE)
def test_a_compute_only_host_gets_no_display_library(words: tuple[str, ...], client: Client) -> None:
    client.dnf("module", "enable", "nvidia-driver:r550")
    client.dnf(*words)
    assert {name for name in client.installed() if not name.startswith(("kmod-nvidia-", "kernel-core"))} == {
        "nvidia-driver-cuda",
        "nvidia-driver-cuda-libs",
        "nvidia-modprobe",
        "nvidia-kmod-common",
        "nvidia-kmod-objects",
        "nvidia-firmware",
        "dnf-plugin-nvidia",
    }
    assert client.kmods() == {"550.163.01-1.el9"}


def test_the_source_profile_installs_nothing_but_source_and_leaves_with_a_proprietary_switch(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r535-open/src")
    assert set(client.installed()) - {"kernel-core"} == {"nvidia-open-kernel-source"}
    client.dnf("install", "nvidia-driver")
    client.dnf("module", "switch-to", "nvidia-driver:r550-open")
    client.has(nvidia_open_kernel_source="550.163.01-1.open.el9", nvidia_driver="550.163.01-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r535")
    client.has(nvidia_open_kernel_source=None, nvidia_driver="535.261.03-1.el9")


def test_nvidia_open_follows_an_open_switch_and_leaves_with_a_proprietary_one(client: Client) -> None:
    client.dnf("module", "enable", "nvidia-driver:r535-open")
    client.dnf("install", "nvidia-open")
    client.has(nvidia_open="535.261.03-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r550-open")
    client.has(nvidia_open="550.163.01-1.el9", nvidia_driver="550.163.01-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r535")
    client.has(nvidia_open=None, nvidia_driver="535.261.03-1.el9")
    assert client.kmods() == {"535.261.03-1.el9"}


def test_a_branch_name_installs_cuda_drivers_and_does_not_stand_in_the_way_of_a_switch(client: Client) -> None:
    client.dnf("module", "enable", "nvidia-driver:r535")
    client.dnf("install", "cuda-drivers-535")
    client.has(cuda_drivers="535.261.03-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r550")
    client.has(cuda_drivers="550.163.01-1.el9")


def test_a_kernel_without_a_module_is_refused_and_the_driver_kept(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r535-open")
    with pytest.raises(ToolError) as caught:
        client.dnf("install", f"kernel-core-{sample.K570.core.evr}")
    assert any("nvidia-kmod-common" in line and "conflicts" in line for line in caught.value.details)
    client.has(nvidia_driver="535.261.03-1.el9")


def test_a_kernel_of_another_kind_is_refused_as_one_without_a_module_is(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r535-open")
    with pytest.raises(ToolError) as caught:
        client.dnf("install", OTHER_KERNEL)
    assert any("nvidia-kmod-common" in line and OTHER_KERNEL in line for line in caught.value.details)
    done = client.dnf("upgrade", plugins=True)
    assert OTHER_KERNEL not in done.stderr, "nobody asked for it, so there is nothing to say"
    client.dnf("module", "switch-to", "nvidia-driver:r535-open-dkms")
    client.dnf("install", OTHER_KERNEL)


def test_with_the_plugin_an_upgrade_goes_past_a_kernel_without_a_module_and_says_so(client: Client) -> None:
    """best=1, as on EL: without the plugin the whole upgrade is refused, and stays refused when it is switched off."""
    client.dnf("module", "install", "nvidia-driver:r535-open")
    client.has(dnf_plugin_nvidia="535.261.03-1.el9")
    evr = str(sample.K570.core.evr)
    with pytest.raises(ToolError):
        client.dnf("upgrade")
    done = client.dnf("upgrade", plugins=True)
    assert f"nvidia: kernel-core-{evr}.x86_64 is held back: driver 535.261.03 has no module" in done.stderr
    assert done.stderr.count("held back") == 1
    assert evr not in client.kernels()
    client.has(nvidia_driver="535.261.03-1.el9")
    with pytest.raises(ToolError):
        client.dnf("upgrade", "--disableplugin=nvidia", plugins=True)
    assert evr not in client.kernels()


def test_hosts_of_a_stream_whose_branch_has_ended_are_not_disturbed(client: Client) -> None:
    """The repository tells the end of r535-open; dnf keeps it to itself."""
    client.dnf("module", "install", "nvidia-driver:r535-open")
    client.dnf("upgrade", "--exclude=kernel-core")
    assert "r535-open [e]" in " ".join(client.dnf("module", "list", "--enabled").stdout.split())
    client.has(nvidia_driver="535.261.03-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r550-open")
    client.dnf("module", "switch-to", "nvidia-driver:r535-open")
    client.has(nvidia_driver="535.261.03-1.el9")


def test_the_plugin_holds_nothing_back_in_a_dkms_stream_and_leaves_with_a_switch_to_one(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r550")
    client.has(dnf_plugin_nvidia="550.163.01-1.el9")
    client.dnf("module", "switch-to", "nvidia-driver:r550-dkms", plugins=True)
    client.has(dnf_plugin_nvidia=None, dkms_nvidia="550.163.01-1.el9")
    client.dnf("upgrade")
    assert str(sample.K570.core.evr) in client.kernels()


def test_a_dkms_stream_lets_every_kernel_in(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r550-dkms")
    client.dnf("install", f"kernel-core-{sample.K570.core.evr}")
    client.has(dkms_nvidia="550.163.01-1.el9")


def test_a_module_leaves_with_its_kernel(client: Client) -> None:
    client.dnf("module", "install", "nvidia-driver:r535-open")
    client.dnf("remove", f"kernel-core-{sample.K427.core.evr}")
    assert [name for name in client.installed() if name.startswith("kmod-nvidia")] == [
        f"kmod-nvidia-{sample.K503.label}"
    ]
