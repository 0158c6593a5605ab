"""Level install: a real root made by dnf with a real kernel; what its kmod and rpm say of modules and planted lies."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import QualifyError, ToolError
from builder.model.cells import Verdict
from builder.model.matrix import Chroot, Kernel
from builder.model.naming import kmod_folder
from builder.qualify.install import not_installed, qualify_install
from builder.qualify.roots import InstalledRoot, make_install_root
from tests.tools.qualifying import (
    Site,
    copy_root,
    evidence,
    faults,
    installed_module,
    make_kmod,
    planted,
)
from tests.tools.test_build_killed import kill_when, mounts_below, processes, soon_nothing_mounted

pytest_plugins = ["tests.tools.qualify_site"]  # its fixture ``site`` is one for all files


def verdict(site: Site, installed: InstalledRoot) -> Verdict:
    return qualify_install(site.cell, installed)


@pytest.fixture
def own(site: Site, tmp_path: Path) -> InstalledRoot:
    """A root to damage."""
    return copy_root(site.installed, tmp_path / "root")


def test_good_packages_pass_and_the_root_is_as_it_was(site: Site) -> None:
    found = verdict(site, site.installed)
    assert found.ok, faults(found)
    assert found.level == "install"
    assert [c.name for c in found.checks] == ["scriptlets", "rpm -V", "modprobe", "modinfo"]
    assert mounts_below(site.installed.path) == []
    assert list((site.installed.path / "dev").iterdir()) == []
    assert list(site.installed.path.parent.glob(".root*")) == []


def test_a_module_of_another_kernel_is_told_by_its_vermagic(site: Site) -> None:
    with planted(site.cell, site.installed, {"nvidia-uvm": site.foreign["nvidia-uvm"]}) as installed:
        found = faults(verdict(site, installed))
    (fault,) = found["modinfo"]
    assert fault.startswith("nvidia-uvm: vermagic 6.1.0-")
    assert fault.endswith(f", expected {site.cell.kernel.release}")
    assert "nvidia-uvm.ko" in found["rpm -V"][0]


def test_a_module_of_another_driver_is_told_by_its_version(site: Site) -> None:
    cell = replace(site.cell, driver=replace(site.cell.driver, version="550.163.01"))
    found = faults(qualify_install(cell, site.installed))
    assert found["modinfo"][0] == "nvidia: version 535.261.03, expected 550.163.01 (and 4 more)"


def test_one_changed_byte_is_noticed_by_rpm(site: Site) -> None:
    data = bytearray(site.modules["nvidia-drm"])
    data[-1000] ^= 1
    with planted(site.cell, site.installed, {"nvidia-drm": bytes(data)}) as installed:
        found = faults(verdict(site, installed))
    assert list(found) == ["rpm -V"]
    assert "5" in found["rpm -V"][0].split()[0]


def test_a_module_that_is_gone_is_noticed(site: Site, own: InstalledRoot) -> None:
    installed_module(site.cell, own.path, "nvidia-uvm").unlink()
    found = faults(verdict(site, own))
    path = f"{kmod_folder(site.cell.kernel)}/nvidia-uvm.ko"
    assert found["modprobe"] == (f"nvidia-uvm: {path} is not there",)
    assert path in found["rpm -V"][0]


def test_a_module_that_depmod_never_saw_is_noticed(site: Site, own: InstalledRoot) -> None:
    for file in (own.path / "lib/modules" / site.cell.kernel.release).glob("modules.dep*"):
        file.unlink()
    assert "nvidia: modprobe: " in faults(verdict(site, own))["modprobe"][0]


def test_a_module_of_the_same_name_elsewhere_is_noticed(site: Site, own: InstalledRoot) -> None:
    folder = own.path / kmod_folder(site.cell.kernel).lstrip("/")
    rules = own.path / "etc/depmod.d"
    rules.mkdir()
    (rules / "x.conf").write_text("search updates extra\n")
    updates = folder.parent.parent / "updates"
    updates.mkdir()
    shutil.copy(folder / "nvidia.ko", updates)
    with planted(site.cell, own, {}):  # depmod
        found = faults(verdict(site, own))
    assert f"updates/nvidia.ko, expected it below {kmod_folder(site.cell.kernel)}" in found["modprobe"][0]


def test_a_rule_that_replaces_a_module_by_a_command_is_noticed(site: Site, own: InstalledRoot) -> None:
    (own.path / "etc/modprobe.d").mkdir(exist_ok=True)
    (own.path / "etc/modprobe.d/x.conf").write_text("install nvidia-drm /bin/false\n")
    found = faults(verdict(site, own))
    assert found["modprobe"][0].startswith("nvidia-drm: modprobe would run: install /bin/false")


def test_a_scriptlet_that_fails_is_a_failed_check_though_dnf_succeeds(site: Site, tmp_path: Path) -> None:
    rpm = make_kmod(site.cell, site.modules, tmp_path / "kmod", scriptlet="echo 'the join went wrong' >&2; exit 3")
    log = tmp_path / "install.log"
    installed = make_install_root(
        site.chroot, site.cell.kernel, [rpm], tmp_path / "root", log=log, timeout=600, cache=site.cache
    )
    found = faults(verdict(site, installed))
    assert "scriptlet" in found["scriptlets"][0]
    assert "the join went wrong" in found["scriptlets"]


def test_a_truncated_package_cannot_be_installed_and_dnf_says_so(site: Site, tmp_path: Path) -> None:
    rpm = tmp_path / site.rpm.name
    rpm.write_bytes(site.rpm.read_bytes()[:-2000])
    with pytest.raises(QualifyError) as caught:
        make_install_root(
            site.chroot, site.cell.kernel, [rpm], tmp_path / "root", log=tmp_path / "install.log", timeout=600
        )
    found = not_installed(site.cell, caught.value)
    assert not found.ok
    assert "digest" in "\n".join(evidence(found, "install")).lower()


def test_a_package_that_wants_what_nobody_has_cannot_be_installed(site: Site, tmp_path: Path) -> None:
    cell = replace(site.cell, kernel=replace(site.cell.kernel, core=replace(site.cell.kernel.core, name="no-such")))
    rpm = make_kmod(cell, site.modules, tmp_path / "kmod")
    with pytest.raises(QualifyError) as caught:
        make_install_root(
            site.chroot, site.cell.kernel, [rpm], tmp_path / "root", log=tmp_path / "install.log", timeout=600
        )
    assert "nothing provides no-such" in "\n".join(evidence(not_installed(cell, caught.value), "install"))


def test_a_kernel_package_of_another_release_is_told(site: Site, tmp_path: Path) -> None:
    kernel = replace(site.cell.kernel, release="6.1.0-none")
    with pytest.raises(QualifyError, match=r"6\.1\.0-none: kernel-cloud-core-.* brought no modules of that release"):
        make_install_root(site.chroot, kernel, [], tmp_path / "root", log=tmp_path / "install.log", timeout=600)


def test_a_repository_that_cannot_be_reached_is_no_verdict(site: Site, tmp_path: Path) -> None:
    lab, *more = site.chroot.repositories
    chroot = replace(site.chroot, repositories=(replace(lab, baseurl=f"file://{tmp_path}/none"), *more))
    with pytest.raises(ToolError) as caught:
        make_install_root(
            chroot, site.cell.kernel, [site.rpm], tmp_path / "root", log=tmp_path / "install.log", timeout=600
        )
    assert "cannot be reached" in caught.value.message


def install(root: Path, what: tuple[Chroot, Kernel, Path]) -> None:
    chroot, kernel, rpm = what
    make_install_root(chroot, kernel, [rpm], root, log=root.parent / "log", timeout=600)


def test_a_killed_installation_leaves_no_process_and_no_mount(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "root"

    def unpacking() -> list[int]:
        return processes(f"--installroot={root}") if list(root.glob("usr/*")) else []

    kill_when(install, root, (site.chroot, site.cell.kernel, site.rpm), unpacking, 1)  # type: ignore[arg-type]
    assert processes(f"--installroot={root}") == []
    assert soon_nothing_mounted(root)
