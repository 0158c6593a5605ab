"""Qualification of kmod packages finds every planted fault in really built RPMs."""

from __future__ import annotations

import struct
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.cells import Artifact, Verdict
from builder.model.matrix import Flavor
from builder.model.sources import SpecFile
from builder.qualify import qualify_kmod
from builder.render import render_kmod
from builder.tools.run import run
from tests.golden import sample
from tests.need import need
from tests.tools.fake_trees import (
    KERNEL_SYMBOLS,
    FakeModule,
    crcs,
    fake_modules,
    symvers,
    write_devel,
    write_kernel_tree,
    write_tarball,
)
from tests.tools.rpm_building import build

Change = Callable[[list[FakeModule]], list[FakeModule]]


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmbuild", "rpm2archive", "gcc", "make", "strip", "xz", "zstd")


def built(
    tmp_path: Path,
    change: Change = lambda modules: modules,
    *,
    edit: Callable[[str], str] = lambda text: text,
    compression: str = "none",
    flavor: Flavor = Flavor.OPEN,
) -> list[Artifact]:
    """A kmod package of the fake tree, with changed modules or an edited spec."""
    major = int(run(["gcc", "-dumpversion"], timeout=10).stdout.split(".")[0])
    write_devel(tmp_path / "devel", major=major)
    kernel = replace(sample.K503, devel_path=str(tmp_path / "devel"))
    sources = sample.sources(folder=tmp_path)
    modules = change(fake_modules(sample.D535, kernel.release, flavor))
    top = f"nvidia-kmod-{sample.D535.version}-{flavor.value}"
    write_tarball(sources.kernel_tree(flavor).path, top, write_kernel_tree(modules))
    dist = sample.distribution(kmod_compression=compression)
    spec = render_kmod(sample.cell(kernel, flavor=flavor, dist=dist), sources, sample.MATRIX)
    spec = SpecFile(filename=spec.filename, text=edit(spec.text), sources=spec.sources)
    return build(spec, tmp_path / "top")


def verdict(artifacts: list[Artifact], table: bytes | None = None, *, flavor: Flavor = Flavor.OPEN) -> Verdict:
    return qualify_kmod(sample.cell(flavor=flavor), artifacts, symvers() if table is None else table, sample.MATRIX)


def failed(result: Verdict) -> dict[str, tuple[str, ...]]:
    return {c.name: c.evidence for c in result.checks if c.outcome == "failed"}


def one(name: str, **changes: object) -> Change:
    """Change one module of the set."""
    return lambda modules: [replace(m, **changes) if m.name == name else m for m in modules]  # type: ignore[arg-type]


@pytest.mark.parametrize("compression", ["none", "xz", "zstd"])
def test_a_good_package_passes_every_check(compression: str, tmp_path: Path) -> None:
    result = verdict(built(tmp_path, compression=compression))
    assert failed(result) == {}
    assert {c.name for c in result.checks} >= {"nevra", "requires", "files", "modules", "vermagic", "imports", "gpl"}


def test_symvers_of_another_kernel_fails_with_both_crcs(tmp_path: Path) -> None:
    found = failed(verdict(built(tmp_path), symvers(kmalloc=0x00C0FFEE)))
    assert list(found) == ["imports"]
    assert "nvidia: kmalloc: expected 0x00c0ffee (the kernel), found 0xfedcba98" in found["imports"][0]
    assert "(and 4 more)" in found["imports"][0]


def test_one_flipped_bit_in_one_crc_of_one_module_fails(tmp_path: Path) -> None:
    flipped = {**crcs("module_layout", "kmalloc"), "_printk": KERNEL_SYMBOLS["_printk"][0] ^ 1}
    found = failed(verdict(built(tmp_path, one("nvidia", imports=flipped))))
    assert found == {"imports": ("nvidia: _printk: expected 0x22222222 (the kernel), found 0x22222223",)}


def test_a_symbol_that_the_kernel_does_not_export_fails(tmp_path: Path) -> None:
    found = failed(verdict(built(tmp_path), symvers(_printk=None)))
    assert "_printk: neither the kernel nor these modules export it" in found["imports"][0]


def test_a_crc_that_differs_between_two_modules_of_the_set_fails(tmp_path: Path) -> None:
    imports = {**crcs("module_layout"), "nvidia_get": 0x44444445}
    found = failed(verdict(built(tmp_path, one("nvidia-drm", imports=imports))))
    assert found == {"imports": ("nvidia-drm: nvidia_get: expected 0x44444444 (nvidia.ko), found 0x44444445",)}


def test_an_import_without_a_recorded_crc_fails(tmp_path: Path) -> None:
    extra = "extern void gpl_only(void); void more(void) { gpl_only(); }"
    found = failed(verdict(built(tmp_path, one("nvidia-uvm", extra=extra))))
    assert found == {"imports": ("nvidia-uvm: gpl_only: the module records no CRC, the kernel has 0x33333333",)}


def test_a_weak_import_that_nobody_exports_is_fine(tmp_path: Path) -> None:
    extra = "extern void maybe(void) __attribute__((weak)); void more(void) { if (maybe) maybe(); }"
    assert failed(verdict(built(tmp_path, one("nvidia-peermem", extra=extra)))) == {}


def test_a_module_of_a_foreign_license_may_not_use_gpl_symbols(tmp_path: Path) -> None:
    imports = crcs("module_layout", "gpl_only")
    artifacts = built(tmp_path, one("nvidia-modeset", imports=imports), flavor=Flavor.PROPRIETARY)
    found = failed(verdict(artifacts, flavor=Flavor.PROPRIETARY))
    assert found == {"gpl": ("nvidia-modeset (license 'NVIDIA') uses gpl_only, which is for GPL modules only",)}


def test_a_gpl_module_may_use_gpl_symbols(tmp_path: Path) -> None:
    assert (
        failed(
            verdict(
                built(
                    tmp_path,
                    one("nvidia", imports=crcs("module_layout", "gpl_only"), exports={"nvidia_get": 0x44444444}),
                )
            )
        )
        == {}
    )


def test_a_module_built_for_another_kernel_fails(tmp_path: Path) -> None:
    found = failed(verdict(built(tmp_path, one("nvidia", release=sample.K427.release))))
    assert found == {"vermagic": (f"nvidia: built for {sample.K427.release}, expected {sample.K503.release}",)}


def test_a_release_that_only_starts_alike_is_another_kernel(tmp_path: Path) -> None:
    found = failed(verdict(built(tmp_path, one("nvidia", release=f"{sample.K503.release}+rt"))))
    assert list(found) == ["vermagic"]


def test_a_module_of_another_driver_version_fails(tmp_path: Path) -> None:
    found = failed(verdict(built(tmp_path, one("nvidia-uvm", version="535.1"))))
    assert found == {"version": ("nvidia-uvm: version 535.1, expected 535.261.03",)}


def test_a_missing_module_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if "nvidia-peermem.ko" not in line) + "\n"

    assert failed(verdict(built(tmp_path, edit=edit))) == {"modules": ("nvidia-peermem.ko is missing",)}


def test_a_file_outside_the_modules_folder_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        text = text.replace("chmod 0644", "install -D Makefile %{buildroot}/etc/nvidia.conf\nchmod 0644", 1)
        return text + "/etc/nvidia.conf\n"

    assert failed(verdict(built(tmp_path, edit=edit))) == {"files": ("/etc/nvidia.conf does not belong here",)}


def test_a_module_outside_its_folder_fails(tmp_path: Path) -> None:
    other = f"/lib/modules/{sample.K503.release}/kernel/nvidia.ko"

    def edit(text: str) -> str:
        text = text.replace("chmod 0644", f"install -D nvidia.ko %{{buildroot}}{other}\nchmod 0644", 1)
        return text + other + "\n"

    found = failed(verdict(built(tmp_path, edit=edit)))
    assert found["files"] == (f"{other} does not belong here",)
    assert found["modules"] == ("nvidia.ko is there 2 times",)


def test_a_requirement_beyond_the_kernel_fails(tmp_path: Path) -> None:
    found = failed(
        verdict(built(tmp_path, edit=lambda text: text.replace("%description", "Requires: dkms\n%description", 1)))
    )
    assert found == {"requires": ("requires dkms",)}


def test_a_package_that_would_install_without_its_kernel_fails(tmp_path: Path) -> None:
    old = f"Requires:       {sample.K503.core}"
    found = failed(verdict(built(tmp_path, edit=lambda text: text.replace(old, f"Requires:       {sample.K427.core}"))))
    assert found["requires"] == (f"requires {sample.K427.core} (and 1 more)", f"lacks {sample.K503.core}")


def test_a_package_of_another_release_than_planned_fails(tmp_path: Path) -> None:
    artifacts = built(tmp_path)
    result = qualify_kmod(sample.cell(), artifacts, symvers(), sample.MATRIX, serial=2)
    assert "unexpected package kmod-nvidia-5.14.0-503.11.1.el9_5-3:535.261.03-1.open.el9" in failed(result)["nevra"][0]


def test_no_package_at_all_fails() -> None:
    assert "0 packages are" in failed(verdict([]))["nevra"][0]


@pytest.mark.parametrize("keep", [10, 63, 2000])
def test_a_truncated_module_is_a_failed_check_and_no_crash(keep: int, tmp_path: Path) -> None:
    ko = f"%{{buildroot}}/lib/modules/{sample.K503.release}/extra/nvidia/nvidia.ko"
    edit = lambda text: text.replace("chmod 0644", f"truncate -s {keep} {ko}\nchmod 0644", 1)  # noqa: E731
    found = failed(verdict(built(tmp_path, edit=edit)))
    assert found["readable"][0].startswith(f"/lib/modules/{sample.K503.release}/extra/nvidia/nvidia.ko: ")


@pytest.mark.parametrize("compression", ["xz", "zstd"])
def test_a_damaged_compressed_module_is_a_failed_check_and_no_crash(compression: str, tmp_path: Path) -> None:
    ko = f"%{{buildroot}}/lib/modules/{sample.K503.release}/extra/nvidia/nvidia.ko.*"
    edit = lambda text: text.replace("chmod 0644", f"truncate -s 100 {ko}\nchmod 0644", 1)  # noqa: E731
    assert "readable" in failed(verdict(built(tmp_path, edit=edit, compression=compression)))


@pytest.mark.parametrize("table", [b"", b"no tabs here\n", b"0xzz\ta\tvmlinux\tEXPORT_SYMBOL\t\n", b"\xff\xfe"])
def test_symvers_that_is_none_is_a_failed_check_and_no_crash(table: bytes, tmp_path: Path) -> None:
    assert "Module.symvers" in failed(verdict(built(tmp_path), table))["imports"][0]


def test_a_module_of_another_machine_class_is_a_failed_check(tmp_path: Path) -> None:
    elf32 = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 1, 3, 1, 0, 0, 0, 0, 52, 0, 0, 40, 0, 0)
    (tmp_path / "elf32").write_bytes(elf32 + bytes(64))
    ko = f"%{{buildroot}}/lib/modules/{sample.K503.release}/extra/nvidia/nvidia.ko"
    edit = lambda text: text.replace("chmod 0644", f"cp {tmp_path}/elf32 {ko}\nchmod 0644", 1)  # noqa: E731
    assert "ELF64" in failed(verdict(built(tmp_path, edit=edit)))["readable"][0]
