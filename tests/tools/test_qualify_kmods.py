"""Qualification of kmod packages finds every planted fault in really built RPMs."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.cells import Verdict
from builder.model.matrix import Flavor
from builder.qualify import qualify_kmod
from builder.sign.modules import ModuleCertificate, ModuleSigner, new_module_key
from tests.golden import sample
from tests.need import need
from tests.tools.fake_trees import KERNEL_SYMBOLS, crcs, symvers
from tests.tools.kmod_building import BuiltKmod, Change, Edit, build_kmod

PARTS = f"/usr/lib/nvidia-kmod/{sample.K503.release}"


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmbuild", "rpm2archive", "gcc", "make", "strip", "zstd", "openssl")


def verdict(
    built: BuiltKmod,
    table: bytes | None = None,
    *,
    flavor: Flavor = Flavor.OPEN,
    certificate: ModuleCertificate | None = None,
    serial: int = 1,
    firmware: tuple[str, ...] | None = None,
) -> Verdict:
    return qualify_kmod(
        sample.cell(flavor=flavor),
        built.artifacts,
        symvers() if table is None else table,
        sample.MATRIX,
        serial=serial,
        objects=built.objects,
        certificate=certificate.pem if certificate else None,
        firmware=firmware,
    )


def failed(result: Verdict) -> dict[str, tuple[str, ...]]:
    return {c.name: c.evidence for c in result.checks if c.outcome == "failed"}


def one(name: str, **changes: object) -> Change:
    """Change one module of the set."""
    return lambda modules: [replace(m, **changes) if m.name == name else m for m in modules]  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def signers(tmp_path_factory: pytest.TempPathFactory) -> tuple[ModuleSigner, ModuleSigner]:
    """Ours and a stranger."""
    folder = tmp_path_factory.mktemp("keys")
    made = []
    for name in ("ours", "stranger"):
        certificate = new_module_key(folder / f"{name}.pem", folder / f"{name}.key", name)
        made.append(ModuleSigner.open(certificate, str(folder / f"{name}.key")))
    return made[0], made[1]


def test_a_good_package_passes_every_check(tmp_path: Path) -> None:
    result = verdict(build_kmod(tmp_path))
    assert failed(result) == {}
    names = {"nevra", "requires", "files", "modules", "joined", "signatures", "vermagic", "imports", "gpl"}
    assert {c.name for c in result.checks} >= names


def test_a_signed_package_passes_with_its_certificate(
    tmp_path: Path, signers: tuple[ModuleSigner, ModuleSigner]
) -> None:
    built = build_kmod(tmp_path, sign=signers[0].sign, signer="ours")
    assert failed(verdict(built, certificate=signers[0].certificate)) == {}


def test_modules_signed_by_somebody_else_fail(tmp_path: Path, signers: tuple[ModuleSigner, ModuleSigner]) -> None:
    built = build_kmod(tmp_path, sign=signers[1].sign, signer="ours")
    found = failed(verdict(built, certificate=signers[0].certificate))
    assert list(found) == ["signatures"]
    assert found["signatures"][0].startswith("nvidia: its signature is not the certificate's: ")
    assert "(and 4 more)" in found["signatures"][0]


def test_unsigned_modules_fail_where_signed_ones_are_asked_for_and_the_other_way_round(
    tmp_path: Path, signers: tuple[ModuleSigner, ModuleSigner]
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    bare = build_kmod(tmp_path / "a")
    assert (
        failed(verdict(bare, certificate=signers[0].certificate))["signatures"][0] == "nvidia: not signed (and 4 more)"
    )
    signed = build_kmod(tmp_path / "b", sign=signers[0].sign, signer="ours")
    assert "signed, though this run signs no modules" in failed(verdict(signed))["signatures"][0]


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0xFF
    path.write_bytes(data)


def test_one_flipped_byte_in_a_packed_module_fails(tmp_path: Path) -> None:
    built = build_kmod(tmp_path, spoil=lambda parts: flip(parts / "nvidia.ko.zst", 200))
    assert failed(verdict(built))["joined"][0].startswith("nvidia: ")


def test_one_flipped_byte_in_a_signature_fails(tmp_path: Path, signers: tuple[ModuleSigner, ModuleSigner]) -> None:
    built = build_kmod(
        tmp_path, sign=signers[0].sign, signer="ours", spoil=lambda parts: flip(parts / "nvidia-drm.ko.sig", 300)
    )
    found = failed(verdict(built, certificate=signers[0].certificate))
    assert found["joined"] == ("nvidia-drm: joined, it is not what its list says (sha256 differs)",)


def test_one_flipped_byte_in_an_object_fails(tmp_path: Path) -> None:
    built = build_kmod(tmp_path)
    flip(next(p for p in built.objects.values() if p.name == "nv-kernel.o_binary"), 7)
    assert failed(verdict(built))["joined"] == ("nvidia: nv-kernel.o_binary is damaged",)


def test_a_package_that_is_joined_with_another_flavors_object_fails(tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    built = build_kmod(tmp_path)
    other = build_kmod(tmp_path / "other", flavor=Flavor.PROPRIETARY)
    found = failed(verdict(replace(built, objects=other.objects)))
    assert "the object it is joined with is not this driver's" in found["joined"][0]


def test_a_packed_module_that_is_missing_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return "\n".join(line for line in text.splitlines() if "nvidia-peermem.ko" not in line) + "\n"

    found = failed(verdict(build_kmod(tmp_path, edit=edit)))
    assert found["modules"] == ("nvidia-peermem.ko is missing (and 1 more)", "nvidia-peermem.ko.zst is missing")
    assert found["joined"] == ("nvidia-peermem: its packed file is missing",)


@pytest.mark.parametrize("text", ["", "sha256 nonsense\n", "ff signed - - nvidia\n"])
def test_a_list_that_is_none_is_a_failed_check_and_no_crash(text: str, tmp_path: Path) -> None:
    built = build_kmod(tmp_path, spoil=lambda parts: (parts / "modules").write_text(text or "\xff"))
    assert "joined" in failed(verdict(built))


def test_symvers_of_another_kernel_fails_with_both_crcs(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path), symvers(kmalloc=0x00C0FFEE)))
    assert list(found) == ["imports"]
    assert "nvidia: kmalloc: expected 0x00c0ffee (the kernel), found 0xfedcba98" in found["imports"][0]
    assert "(and 4 more)" in found["imports"][0]


def test_one_flipped_bit_in_one_crc_of_one_module_fails(tmp_path: Path) -> None:
    flipped = {**crcs("module_layout", "kmalloc"), "_printk": KERNEL_SYMBOLS["_printk"][0] ^ 1}
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia", imports=flipped))))
    assert found == {"imports": ("nvidia: _printk: expected 0x22222222 (the kernel), found 0x22222223",)}


def test_a_symbol_that_the_kernel_does_not_export_fails(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path), symvers(_printk=None)))
    assert "_printk: neither the kernel nor these modules export it" in found["imports"][0]


def test_a_crc_that_differs_between_two_modules_of_the_set_fails(tmp_path: Path) -> None:
    imports = {**crcs("module_layout"), "nvidia_get": 0x44444445}
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia-drm", imports=imports))))
    assert found == {"imports": ("nvidia-drm: nvidia_get: expected 0x44444444 (nvidia.ko), found 0x44444445",)}


def test_an_import_without_a_recorded_crc_fails(tmp_path: Path) -> None:
    extra = "extern void gpl_only(void); void more(void) { gpl_only(); }"
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia-uvm", extra=extra))))
    assert found == {"imports": ("nvidia-uvm: gpl_only: the module records no CRC, the kernel has 0x33333333",)}


def test_a_weak_import_that_nobody_exports_is_fine(tmp_path: Path) -> None:
    extra = "extern void maybe(void) __attribute__((weak)); void more(void) { if (maybe) maybe(); }"
    assert failed(verdict(build_kmod(tmp_path, change=one("nvidia-peermem", extra=extra)))) == {}


def in_a_namespace() -> bytes:
    return symvers().replace(b"_printk\tvmlinux\tEXPORT_SYMBOL\t", b"_printk\tvmlinux\tEXPORT_SYMBOL\tLOGGING")


def test_a_symbol_of_a_namespace_that_is_not_imported_fails(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia", namespace="DMA_BUF")), in_a_namespace()))
    assert list(found) == ["namespaces"]
    assert found["namespaces"][0].startswith("nvidia uses _printk of namespace LOGGING, which it does not import")


def test_a_symbol_of_an_imported_namespace_is_fine(tmp_path: Path) -> None:
    change = lambda modules: [replace(m, namespace="LOGGING") for m in modules]  # noqa: E731
    assert failed(verdict(build_kmod(tmp_path, change=change), in_a_namespace())) == {}


@pytest.mark.parametrize(("shipped", "faults"), [("gsp.bin", {}), ("other.bin", {"firmware"})])
def test_firmware_that_a_module_names_must_be_shipped(shipped: str, faults: set[str], tmp_path: Path) -> None:
    name = f"nvidia/{sample.D535.version}"
    built = build_kmod(tmp_path, change=one("nvidia", firmware=f"{name}/gsp.bin"))
    assert set(failed(verdict(built, firmware=(f"{name}/{shipped}",)))) == set(faults)


def test_a_module_of_a_foreign_license_may_not_use_gpl_symbols(tmp_path: Path) -> None:
    imports = crcs("module_layout", "gpl_only")
    built = build_kmod(tmp_path, change=one("nvidia-modeset", imports=imports), flavor=Flavor.PROPRIETARY)
    found = failed(verdict(built, flavor=Flavor.PROPRIETARY))
    assert found == {"gpl": ("nvidia-modeset (license 'NVIDIA') uses gpl_only, which is for GPL modules only",)}


def test_a_gpl_module_may_use_gpl_symbols(tmp_path: Path) -> None:
    imports = crcs("module_layout", "gpl_only")
    change = one("nvidia", imports=imports, exports={"nvidia_get": 0x44444444})
    assert failed(verdict(build_kmod(tmp_path, change=change))) == {}


def test_a_module_built_for_another_kernel_fails(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia", release=sample.K427.release))))
    assert found == {"vermagic": (f"nvidia: built for {sample.K427.release}, expected {sample.K503.release}",)}


def test_a_release_that_only_starts_alike_is_another_kernel(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia", release=f"{sample.K503.release}+rt"))))
    assert list(found) == ["vermagic"]


def test_a_module_of_another_driver_version_fails(tmp_path: Path) -> None:
    found = failed(verdict(build_kmod(tmp_path, change=one("nvidia-uvm", version="535.1"))))
    assert found == {"version": ("nvidia-uvm: version 535.1, expected 535.261.03",)}


def install_too(source: str, path: str) -> Edit:
    """Let the package install one more file."""
    return lambda text: (
        text.replace("\n# After the old", f"\ninstall -D {source} %{{buildroot}}{path}\n# After the old", 1)
        + path
        + "\n"
    )


@pytest.mark.parametrize("path", ["/etc/nvidia.conf", f"/lib/modules/{sample.K503.release}/kernel/nvidia.ko"])
def test_a_file_in_a_foreign_place_fails(path: str, tmp_path: Path) -> None:
    built = build_kmod(tmp_path, edit=install_too("%{_sourcedir}/modules", path))
    assert failed(verdict(built)) == {"files": (f"{path} does not belong here",)}


def test_a_requirement_beyond_the_kernel_fails(tmp_path: Path) -> None:
    found = failed(
        verdict(build_kmod(tmp_path, edit=lambda text: text.replace("%description", "Requires: dkms\n%description", 1)))
    )
    assert found == {"requires": ("requires dkms",)}


def test_a_package_that_would_install_without_its_kernel_fails(tmp_path: Path) -> None:
    old = f"Requires:       {sample.K503.core}"
    edit = lambda text: text.replace(old, f"Requires:       {sample.K427.core}")  # noqa: E731
    found = failed(verdict(build_kmod(tmp_path, edit=edit)))
    assert found["requires"] == (f"requires {sample.K427.core} (and 1 more)", f"lacks {sample.K503.core}")


def test_a_package_of_another_release_than_planned_fails(tmp_path: Path) -> None:
    result = verdict(build_kmod(tmp_path), serial=2)
    assert "unexpected package kmod-nvidia-5.14.0-503.11.1.el9_5-3:535.261.03-1.open.el9" in failed(result)["nevra"][0]


def test_no_package_at_all_fails() -> None:
    assert "0 packages are" in failed(verdict(BuiltKmod(artifacts=[], objects={})))["nevra"][0]


def after_compiling(command: str) -> Edit:
    """Let the compilation do one more thing to what it leaves."""
    return lambda text: text.replace("\n%files", f"\n{command}\n\n%files", 1)


KO = "%{buildroot}/usr/lib/nvidia-modules/nvidia.ko"


@pytest.mark.parametrize("keep", [10, 63, 2000])
def test_a_truncated_module_is_a_failed_check_and_no_crash(keep: int, tmp_path: Path) -> None:
    built = build_kmod(tmp_path, edit_modules=after_compiling(f"truncate -s {keep} {KO}"))
    assert failed(verdict(built))["readable"][0].startswith("nvidia: ")


@pytest.mark.parametrize("table", [b"", b"no tabs here\n", b"0xzz\ta\tvmlinux\tEXPORT_SYMBOL\t\n", b"\xff\xfe"])
def test_symvers_that_is_none_is_a_failed_check_and_no_crash(table: bytes, tmp_path: Path) -> None:
    assert "Module.symvers" in failed(verdict(build_kmod(tmp_path), table))["imports"][0]


def test_a_module_of_another_machine_class_is_a_failed_check(tmp_path: Path) -> None:
    elf32 = b"\x7fELF\x01\x01\x01" + bytes(9) + struct.pack("<HHIIIIIHHHHHH", 1, 3, 1, 0, 0, 0, 0, 52, 0, 0, 40, 0, 0)
    (tmp_path / "elf32").write_bytes(elf32 + bytes(64))
    built = build_kmod(tmp_path, edit_modules=after_compiling(f"cp {tmp_path}/elf32 {KO}"))
    assert "ELF64" in failed(verdict(built))["readable"][0]
