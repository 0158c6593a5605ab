"""Levels boot and secureboot: a real kernel in QEMU, the light driver's modules, lies that the kernel must notice."""

from __future__ import annotations

import lzma
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ToolMissingError
from builder.model.cells import Verdict
from builder.qualify.boot import qualify_boot
from builder.qualify.initramfs import order_modules, pack_initramfs, read_dependencies
from builder.qualify.roots import InstalledRoot
from builder.qualify.secureboot import qualify_secureboot
from builder.tools.kmod import split_signature
from builder.tools.run import run
from tests.need import need
from tests.tools.qualifying import (
    Site,
    copy_root,
    evidence,
    faults,
    installed_module,
    make_key,
    need_qemu,
    planted,
    signed,
)

pytest_plugins = ["tests.tools.qualify_site"]  # its fixture ``site`` is one for all files
TIMEOUT = 300.0  # seconds
NOT_TRIED = "not tried: it needs nvidia, which is not loaded"


@pytest.fixture(autouse=True)
def qemu() -> None:
    need_qemu()


@pytest.fixture
def secure() -> None:
    need_qemu(secure=True)


def boot(site: Site, installed: InstalledRoot, scratch: Path, *, timeout: float = TIMEOUT) -> Verdict:
    return qualify_boot(site.cell, installed, timeout=timeout, scratch=scratch)


def secureboot(site: Site, installed: InstalledRoot, scratch: Path, certificate: bytes | None = None) -> Verdict:
    return qualify_secureboot(
        site.cell, installed, site.key.der if certificate is None else certificate, timeout=TIMEOUT, scratch=scratch
    )


def test_all_modules_of_a_good_driver_are_live(site: Site, tmp_path: Path) -> None:
    found = boot(site, site.installed, tmp_path)
    assert found.ok, faults(found)
    assert found.level == "boot"
    for module in site.cell.driver.modules:
        assert evidence(found, module)[0] == f"loaded, version {site.cell.driver.version}"
    assert evidence(found, "kernel") == (site.cell.kernel.release,)
    assert "NVRM: loading stand-in kernel module 535.261.03" in "\n".join(evidence(found, "nvidia"))


def test_compressed_modules_are_loaded_by_the_roots_own_programs(site: Site, tmp_path: Path) -> None:
    own = copy_root(site.installed, tmp_path / "root")
    for name in site.cell.driver.modules:
        plain = installed_module(site.cell, own.path, name)
        plain.with_suffix(".ko.xz").write_bytes(lzma.compress(plain.read_bytes(), check=lzma.CHECK_CRC32))
        plain.unlink()
    with planted(site.cell, own, {}):  # depmod
        found = boot(site, own, tmp_path / "boot")
    assert found.ok, faults(found)


def without_gpu(site: Site) -> dict[str, bytes]:
    """The two modules that do not stay loaded without hardware, answering as NVIDIA's."""
    return {name: site.lies[name] for name in ("nvidia", "nvidia-peermem")}


def test_the_answer_of_the_real_driver_without_a_gpu_is_accepted(site: Site, tmp_path: Path) -> None:
    with planted(site.cell, site.installed, without_gpu(site)) as installed:
        found = boot(site, installed, tmp_path)
    assert found.ok, faults(found)
    assert any("NVRM: No NVIDIA GPU found." in line for line in evidence(found, "nvidia"))
    assert "modprobe: ERROR: could not insert 'nvidia': No such device" in evidence(found, "nvidia")
    for module in ("nvidia-uvm", "nvidia-modeset"):
        assert evidence(found, module) == (NOT_TRIED,)
    assert evidence(found, "nvidia-peermem")[0].endswith("could not insert 'nvidia_peermem': Invalid argument")


def test_what_cannot_be_tried_without_a_gpu_still_must_fit_the_kernel(site: Site, tmp_path: Path) -> None:
    lies = {
        **without_gpu(site),
        "nvidia-uvm": site.foreign["nvidia-uvm"],
        "nvidia-drm": site.modules["nvidia-drm"].replace(b"\0_printk\0", b"\0_prinkt\0"),
    }
    with planted(site.cell, site.installed, lies) as installed:
        found = faults(boot(site, installed, tmp_path))
    assert set(found) == {"nvidia-uvm symbols", "nvidia-drm symbols"}
    assert found["nvidia-uvm symbols"] == ("nvidia_uvm: disagrees about version of symbol module_layout",)
    assert found["nvidia-drm symbols"] == ("nvidia_drm: Unknown symbol _prinkt (err -2)",)


def test_a_module_of_another_kernel_is_refused_by_this_one(site: Site, tmp_path: Path) -> None:
    with planted(site.cell, site.installed, {"nvidia": site.foreign["nvidia"]}) as installed:
        found = faults(boot(site, installed, tmp_path))
    assert list(found) == ["nvidia"]
    assert found["nvidia"][0] == "nvidia: disagrees about version of symbol module_layout"


def test_a_module_of_another_layout_and_a_missing_symbol_are_told_in_the_kernels_words(
    site: Site, tmp_path: Path
) -> None:
    name, gone = b"nvidia_light_get_ops\0", b"nvidia_light_got_ops\0"
    lies = {
        "nvidia-uvm": site.lies["nvidia-uvm"],
        "nvidia-peermem": site.modules["nvidia-peermem"].replace(name, gone),
    }
    assert gone in lies["nvidia-peermem"]
    with planted(site.cell, site.installed, lies) as installed:
        found = faults(boot(site, installed, tmp_path))
    assert set(found) == {"nvidia-uvm", "nvidia-peermem"}
    assert found["nvidia-uvm"][0] == "nvidia_uvm: disagrees about version of symbol nvidia_light_get_ops"
    assert "nvidia_peermem: Unknown symbol nvidia_light_got_ops (err -2)" in found["nvidia-peermem"]


def test_a_module_that_panics_is_told_by_the_console(site: Site, tmp_path: Path) -> None:
    with planted(site.cell, site.installed, {"nvidia-modeset": site.lies["nvidia-modeset"]}) as installed:
        found = faults(boot(site, installed, tmp_path))
    assert found["boot"][0] == "the machine reset itself before its end"
    assert "Kernel panic - not syncing: a module that panics" in found["boot"]
    assert found["boot"][-1] == "while nvidia-modeset was being inserted"
    assert found["nvidia-modeset"][0] == "inserting nvidia-modeset never came back"
    assert found["nvidia-drm"] == ("nvidia-drm was not reached: the machine stopped before",)


def test_a_machine_that_does_not_end_is_stopped_and_told(site: Site, tmp_path: Path) -> None:
    found = faults(boot(site, site.installed, tmp_path, timeout=0.5))
    assert found["boot"][0] == "the machine did not come to its end in time and was stopped"
    assert found["nvidia"] == ("nvidia was not reached: the machine stopped before",)


def test_a_root_without_a_module_or_a_kernel_cannot_be_booted(site: Site, tmp_path: Path) -> None:
    own = copy_root(site.installed, tmp_path / "root")
    uvm = installed_module(site.cell, own.path, "nvidia-uvm")
    uvm.write_bytes(uvm.read_bytes()[:3000])
    found = faults(boot(site, own, tmp_path / "boot"))
    assert found["boot"] == ("nvidia-uvm: it is truncated: its section table lies behind its end",)
    uvm.unlink()
    assert "nvidia-uvm.ko is missing" in faults(boot(site, own, tmp_path / "boot"))["boot"][0]
    with planted(site.cell, own, {}):
        found = faults(boot(site, own, tmp_path / "boot"))
    assert found["boot"] == ("nvidia-uvm is not in modules.dep: it is not installed, or depmod did not run",)


def test_an_arch_without_a_machine_is_refused(site: Site, tmp_path: Path) -> None:
    cell = replace(site.cell, kernel=replace(site.cell.kernel, arch="aarch64"))
    with pytest.raises(ToolMissingError, match="aarch64 kernels cannot be booted"):
        qualify_boot(cell, site.installed, timeout=TIMEOUT, scratch=tmp_path)


def test_an_initramfs_of_the_same_root_is_the_same_bytes_and_cpio_reads_it(site: Site, tmp_path: Path) -> None:
    need("cpio")
    root, release = site.installed.path, site.cell.kernel.release
    insertions = order_modules(site.cell.driver.modules, read_dependencies(root, release))
    for name in ("one", "two"):
        pack_initramfs(root, release, insertions, {}, tmp_path / name)
    data = (tmp_path / "one").read_bytes()
    assert data == (tmp_path / "two").read_bytes()
    names = run(["cpio", "-t", "--quiet"], timeout=60, stdin=data).stdout.splitlines()
    assert {"init", "dev/console", "lib", f"usr/lib/modules/{release}/extra/nvidia/nvidia.ko"} <= set(names)
    assert f"usr/lib/modules/{release}/modules.dep.bin" in names
    assert len(names) < 150


@pytest.mark.usefixtures("secure")
def test_secure_boot_takes_our_modules_and_neither_forgery(site: Site, tmp_path: Path) -> None:
    found = secureboot(site, site.installed, tmp_path)
    assert found.ok, faults(found)
    assert found.level == "secureboot"
    assert any("Secure boot enabled" in line for line in evidence(found, "secure boot"))
    assert "[integrity]" in evidence(found, "lockdown")[0]
    for forgery in ("unsigned", "tampered"):
        assert any("Key was rejected by service" in line for line in evidence(found, forgery))
    for module in site.cell.driver.modules:
        assert evidence(found, module)[0] == f"loaded, version {site.cell.driver.version}"


@pytest.mark.usefixtures("secure")
def test_without_our_certificate_our_modules_are_rejected(site: Site, tmp_path: Path) -> None:
    found = faults(secureboot(site, site.installed, tmp_path, make_key("somebody else").der))
    signatures = {f"{m} symbols" for m in site.cell.driver.modules if m != "nvidia"}
    assert set(found) == {"nvidia", *signatures}
    assert any("Key was rejected by service" in line or "key not available" in line for line in found["nvidia"])


@pytest.mark.usefixtures("secure")
def test_one_foreign_signer_and_one_flipped_byte_in_a_set_are_found(site: Site, tmp_path: Path) -> None:
    tampered = bytearray(site.modules["nvidia-peermem"])
    tampered[len(tampered) // 3] ^= 1
    foreign = signed({"nvidia-uvm": site.modules["nvidia-uvm"]}, make_key("somebody else"))
    with planted(site.cell, site.installed, {**foreign, "nvidia-peermem": bytes(tampered)}) as installed:
        found = faults(secureboot(site, installed, tmp_path))
    assert set(found) == {"nvidia-uvm", "nvidia-peermem"}
    for words in found.values():
        assert any("Key was rejected by service" in line for line in words)


@pytest.mark.usefixtures("secure")
def test_modules_that_need_a_gpu_show_that_their_signature_is_accepted(site: Site, tmp_path: Path) -> None:
    with planted(site.cell, site.installed, without_gpu(site)) as installed:
        found = secureboot(site, installed, tmp_path)
    assert found.ok, faults(found)
    assert evidence(found, "nvidia-uvm") == (NOT_TRIED,)
    assert "nvidia_uvm: Unknown symbol nvidia_light_get_ops (err -2)" in evidence(found, "nvidia-uvm symbols")


@pytest.mark.usefixtures("secure")
def test_a_module_without_a_signature_is_told_without_booting(site: Site, tmp_path: Path) -> None:
    bare, _signature = split_signature(site.modules["nvidia-drm"])
    with planted(site.cell, site.installed, {"nvidia-drm": bare}) as installed:
        found = faults(secureboot(site, installed, tmp_path))
    assert found == {"signed": ("nvidia-drm carries no signature",)}
    assert list(tmp_path.iterdir()) == []
