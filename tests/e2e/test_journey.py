"""An admin's year on one host: every switch in one transaction, CUDA untouched, no kernel ever without its module.

Real dnf 4, real kernels, kmods that were really built (of the light driver), scriptlets running, signatures checked.
Each test is a step and leaves the host to the next one, so they stand in one file; after each step the whole host is
looked at.
"""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.e2e.journey_site import (
    BYSTANDER,
    DRIVERS,
    FIRST_DRIVERS,
    OPEN,
    R430,
    R470,
    R535,
    R570,
    RELEASE,
    SIGNER,
    Expected,
    Host,
    Publisher,
    bystander,
    make_host,
    said,
)
from tests.lab.distro import LabDistro
from tests.lab.kernels import LabKernel

GUIDE = Path("docs/admin-guide.md")


@pytest.fixture(scope="module")
def publisher(
    tmp_path_factory: pytest.TempPathFactory, built: Publisher, distro: LabDistro, keys: Path, kernels: list[LabKernel]
) -> Publisher:
    """With its first publication: two kernels, three branches."""
    made = Publisher(tmp_path_factory.mktemp("journey"), distro, keys, like=built)
    streams = made.publish(kernels[:2], FIRST_DRIVERS)
    assert streams == {
        "r430": [R430], "r470": [R470], "r535": [R535], "r535-open": [R535], "latest": [R535], "latest-dkms": [R535],
    }  # fmt: skip
    return made


@pytest.fixture(scope="module")
def host(
    publisher: Publisher,
    lab: LabDistro,
    distro: LabDistro,
    kernels: list[LabKernel],
    tmp_path_factory: pytest.TempPathFactory,
) -> Host:
    folder = tmp_path_factory.mktemp("host")
    made = make_host(folder, lab, distro, publisher.job, kernels[:2], Host)
    made.add_repository()
    made.offer(bystander(folder, "1"))
    made.dnf("install", BYSTANDER)
    return made


def without_kernels(line: str) -> str:
    """Which kernels there are is decided by the archive."""
    return re.sub(
        r"\b\d+\.\d+[\w.+]*-[\w.]+",
        "KERNEL",
        re.sub(r"kernel-devel-\S+( kernel-devel-\S+)*", "kernel-devel-KERNEL", line),
    )


def test_install_of_an_old_branch_brings_the_modules_of_both_kernels(host: Host) -> None:
    readme = host.shell("cat /usr/share/doc/nvidia-driver-release/README")
    assert "mokutil --import /usr/share/nvidia-driver-release/certificate.der" in readme
    host.dnf("module", "list", "nvidia-driver")
    host.dnf("module", "install", "nvidia-driver:r430")
    host.expected = Expected(version=R430)
    host.check()


def test_cuda_comes_from_its_own_repository_and_changes_no_driver(host: Host) -> None:
    host.dnf("install", "cuda")
    host.keep("cuda")
    host.check()


def test_a_kernel_without_a_module_is_held_back_and_everything_else_is_updated(
    host: Host, kernels: list[LabKernel], tmp_path: Path
) -> None:
    """With best=1 and without the plugin dnf refuses the whole upgrade; the kernel never comes without its module."""
    host.offer(*host.kernel_rpms(kernels[2]), bystander(tmp_path, "2"))
    refused = host.dnf("upgrade", ok=(1,))
    assert "nvidia-kmod-common" in said(refused)
    assert f"conflicts with kernel-core > {kernels[1].core.evr} provided by kernel-core-{kernels[2].core.evr}" in said(
        refused
    )
    assert host.packages()[BYSTANDER] == ["1-1.lab9"]
    host.check()
    host.dnf("upgrade", "--nobest")
    assert host.packages()[BYSTANDER] == ["2-1.lab9"]
    host.check()


def test_with_the_plugin_the_kernel_is_named_and_the_upgrade_goes_on(
    host: Host, kernels: list[LabKernel], tmp_path: Path
) -> None:
    host.dnf("install", "dnf-plugin-nvidia", "nvidia-kmod-certificate")
    for version, best in (("3", ()), ("4", ("--nobest",))):
        host.offer(bystander(tmp_path, version))
        done = host.dnf("upgrade", *best)
        assert (
            f"nvidia: kernel-core-{kernels[2].core.evr}.x86_64 is held back: driver {R430} has no module for it yet"
            in said(done)
        )
        assert host.packages()[BYSTANDER] == [f"{version}-1.lab9"]
        host.check()


def test_the_way_up_to_latest_is_one_transaction(host: Host) -> None:
    host.dnf("module", "switch-to", "nvidia-driver:latest")
    host.expected = Expected(version=R535, license=OPEN)
    host.check()


def test_a_new_kernel_comes_with_its_module_and_the_oldest_leaves_with_its_own(
    host: Host, publisher: Publisher, kernels: list[LabKernel]
) -> None:
    publisher.publish(kernels[:3], FIRST_DRIVERS)
    host.dnf("config-manager", "--save", "--setopt=installonly_limit=2")
    host.dnf("upgrade", "--refresh")
    host.kernels = kernels[1:3]
    host.check()
    host.dnf("history", "undo", "last")  # the former gate is kept
    host.kernels = kernels[:2]
    host.check()
    host.dnf("upgrade")
    host.kernels = kernels[1:3]
    host.check()


def test_latest_moves_to_a_newer_driver_with_a_plain_upgrade_and_keeps_the_one_before(
    host: Host, publisher: Publisher, kernels: list[LabKernel]
) -> None:
    streams = publisher.publish(kernels[:3], DRIVERS)
    assert streams["latest"] == [R535, R570]
    host.dnf("upgrade", "--refresh")
    host.expected = Expected(version=R570, license=OPEN)
    host.check()


def test_an_upgrade_is_undone_and_done_again(host: Host) -> None:
    host.dnf("history", "undo", "last")
    host.expected = Expected(version=R535, license=OPEN)
    host.check()
    host.dnf("upgrade")
    host.expected = Expected(version=R570, license=OPEN)
    host.check()


def test_an_older_driver_of_the_stream_is_chosen_by_its_version_and_stays_while_it_is_pinned(host: Host) -> None:
    listed = host.dnf("list", "--showduplicates", "nvidia-driver")
    assert {f"3:{R535}-1.lab9", f"3:{R570}-1.lab9"} <= set(listed.stdout.split())
    host.dnf("downgrade", f"nvidia-driver-{R535}")
    host.expected = Expected(version=R535, license=OPEN)
    host.check()
    host.dnf("upgrade", f"--exclude=*-{R570}-*")
    host.check()
    host.dnf("config-manager", "--save", f"--setopt=nvidia-driver-lab9.excludepkgs=*-{R570}-*")
    host.dnf("upgrade")
    host.check()


def test_an_exact_driver_is_installed_by_its_version_and_leaves_when_it_is_no_longer_pinned(host: Host) -> None:
    host.dnf("config-manager", "--save", "--setopt=nvidia-driver-lab9.excludepkgs=")
    host.dnf("module", "remove", "nvidia-driver")
    host.dnf("install", f"cuda-drivers-{R535}")
    host.check()
    host.dnf("upgrade")
    host.expected = Expected(version=R570, license=OPEN)
    host.check()


def test_modules_are_compiled_on_the_host_in_the_dkms_stream(host: Host) -> None:
    host.dnf("install", *(f"kernel-devel-{k.devel.evr}" for k in host.kernels))
    host.dnf("module", "switch-to", "nvidia-driver:latest-dkms")
    host.expected = Expected(version=R570, license=OPEN, dkms=True)
    host.check()


def test_from_dkms_down_to_precompiled_modules_of_an_older_branch(host: Host) -> None:
    host.dnf("module", "switch-to", "nvidia-driver:r535-open")
    host.expected = Expected(version=R535, license=OPEN)
    host.check()


def test_sideways_to_another_flavor(host: Host) -> None:
    host.dnf("module", "switch-to", "nvidia-driver:r535")
    host.expected = Expected(version=R535)
    host.check()


def test_a_switch_is_undone_by_switching_back_or_once_its_stream_is_enabled_by_dnf_itself(host: Host) -> None:
    """Packages of another stream are out of dnf's sight: history alone cannot bring them back, and says so."""
    refused = host.dnf("history", "undo", "last", ok=(1,))
    assert 'Cannot find rpm nevra "nvidia-kmod-common-' in said(refused)
    host.check()
    host.dnf("--setopt=module_stream_switch=1", "module", "enable", "nvidia-driver:r535-open")
    host.dnf("history", "undo", "last")
    host.expected = Expected(version=R535, license=OPEN)
    host.check()
    host.dnf("module", "switch-to", "nvidia-driver:r535")
    host.expected = Expected(version=R535)
    host.check()


def test_a_kernel_published_before_its_module_waits_for_it(host: Host, kernels: list[LabKernel]) -> None:
    host.offer(*host.kernel_rpms(kernels[3])[:1])
    refused = host.dnf("upgrade", ok=(1,))
    assert f"conflicts with kernel-core > {kernels[2].core.evr} provided by kernel-core-{kernels[3].core.evr}" in said(
        refused
    )
    host.check()
    host.dnf("upgrade", "--nobest")
    host.check()


def test_a_kernel_that_cannot_wait_is_let_in_by_hand_and_named_from_then_on(
    host: Host, kernels: list[LabKernel]
) -> None:
    """Past dnf on purpose. The driver stays, what dnf does goes on, and the plugin says what is missing."""
    host.dnf("install", "dnf-plugin-nvidia")
    host.dnf("--disableplugin=nvidia", "download", "--destdir=/root/kernel", f"kernel-core-{kernels[3].core.evr}")
    host.shell("rpm -i --nodeps /root/kernel/*.rpm")
    host.kernels, host.without = kernels[1:], (kernels[3],)
    host.check()
    named = f"nvidia: kernel-core-{kernels[3].core.evr}.x86_64 is installed, but driver {R535} has no module for it yet"
    assert named in said(host.dnf("upgrade"))
    conflict = f"kernel-core > {kernels[2].core.evr}"
    assert conflict in said(host.dnf("check", ok=(1,)))
    refused = host.dnf("module", "switch-to", "nvidia-driver:r535-open", ok=(1,))
    assert conflict in said(refused)
    host.check()


def test_its_module_comes_with_the_next_upgrade(host: Host, publisher: Publisher, kernels: list[LabKernel]) -> None:
    publisher.publish(kernels, DRIVERS)
    done = host.dnf("upgrade", "--refresh")
    assert "has no module" not in said(done)
    host.without = ()
    host.check()


def test_down_to_an_older_branch_and_up_again(host: Host) -> None:
    host.dnf("module", "switch-to", "nvidia-driver:r470")
    host.expected = Expected(version=R470)
    host.check()
    host.dnf("module", "switch-to", "nvidia-driver:latest")
    host.expected = Expected(version=R570, license=OPEN)
    host.check()


def test_install_of_another_stream_is_refused_and_says_how_to_switch(host: Host) -> None:
    refused = host.dnf("module", "install", "nvidia-driver:r535", ok=(1,))
    assert "switch" in said(refused)
    host.check()


def test_another_profile_adds_nothing_that_is_there_already(host: Host) -> None:
    host.dnf("module", "install", "nvidia-driver:latest/ks")
    host.check()


def test_what_is_installed_can_be_looked_at(host: Host) -> None:
    enabled = host.dnf("module", "list", "--enabled", "nvidia-driver").stdout
    assert next(line.split()[:2] for line in enabled.splitlines() if "[e]" in line) == ["nvidia-driver", "latest"]
    newest = host.kernels[-1].release
    assert host.shell(f"modinfo -k {newest} -F version nvidia") == R570
    assert host.shell(f"modinfo -k {newest} -F signer nvidia") == SIGNER
    assert host.shell("nvidia-kmod-join --verify") == ""
    assert host.shell("rpm -V nvidia-kmod-common nvidia-kmod-objects") == ""


def test_removal_leaves_nothing_behind(host: Host) -> None:
    host.dnf("module", "remove", "--all", "nvidia-driver")
    host.dnf("module", "reset", "nvidia-driver")
    host.expected = None
    host.check()
    assert "nvidia-driver-lab9" in host.dnf("repolist").stdout
    del host.kept[RELEASE]
    host.dnf("remove", RELEASE)
    host.check()
    assert "nvidia-driver-lab9" not in host.dnf("repolist").stdout


def test_every_command_of_the_admins_guide_was_run_here(host: Host) -> None:
    lines = [line.strip() for line in GUIDE.read_text().splitlines()]
    told = {without_kernels(line.removeprefix("host# ")) for line in lines if line.startswith("host# ")}
    typed = {without_kernels(line) for line in host.typed}
    assert told
    assert sorted(told - typed) == []
