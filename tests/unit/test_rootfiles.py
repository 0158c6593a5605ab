"""Files of a root as the root sees them; archives of them; what stands in module, PE and descriptor files."""

from __future__ import annotations

import json
import struct
import sys
from pathlib import Path

import pytest

from builder.errors import ToolMissingError
from builder.qualify.initramfs import order_modules
from builder.qualify.rootfiles import RootFileError, find_file, library_folders, read_dynamic, resolve, walk
from builder.tools import qemu
from builder.tools.cpio import file_entry, folder_entry, link_entry, write_cpio
from builder.tools.efi import image_signers
from builder.tools.kmod import split_signature


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "usr/lib64").mkdir(parents=True)
    (tmp_path / "usr/lib64/libx.so.1.2").write_text("x")
    (tmp_path / "usr/lib64/libx.so.1").symlink_to("libx.so.1.2")
    (tmp_path / "lib64").symlink_to("usr/lib64")
    (tmp_path / "etc").mkdir()
    return tmp_path


def test_every_link_on_the_way_is_told(root: Path) -> None:
    assert list(walk(root, "/lib64/libx.so.1")) == [
        ("/lib64", "usr/lib64"),
        ("/usr", None),
        ("/usr/lib64", None),
        ("/usr/lib64/libx.so.1", "libx.so.1.2"),
        ("/usr/lib64/libx.so.1.2", None),
    ]


@pytest.mark.parametrize("target", ["/usr/lib64/libx.so.1", "../../../../usr/lib64/libx.so.1"])
def test_links_stay_inside_the_root(root: Path, target: str) -> None:
    (root / "etc/x").symlink_to(target)
    assert resolve(root, "/etc/x") == root / "usr/lib64/libx.so.1.2"


def test_a_link_to_nowhere_and_a_loop_are_errors(root: Path) -> None:
    (root / "etc/nowhere").symlink_to("/none")
    (root / "etc/loop").symlink_to("loop")
    with pytest.raises(RootFileError, match=r"/none is missing \(/etc/nowhere leads there\)"):
        resolve(root, "/etc/nowhere")
    with pytest.raises(RootFileError, match="too many symbolic links"):
        resolve(root, "/etc/loop")


def test_library_folders_follow_ld_so_conf(root: Path) -> None:
    (root / "etc/ld.so.conf.d").mkdir()
    (root / "etc/ld.so.conf").write_text("# first\ninclude /etc/ld.so.conf.d/*.conf\n/last\n")
    (root / "etc/ld.so.conf.d/b.conf").write_text("/b\n")
    (root / "etc/ld.so.conf.d/a.conf").write_text("/a # why\n")
    assert library_folders(root)[:4] == ("/a", "/b", "/last", "/lib64")
    assert find_file(root, "libx.so.1", library_folders(root)) == "/lib64/libx.so.1"
    assert find_file(root, "liby.so.1", library_folders(root)) is None


def test_a_program_needs_its_interpreter_and_libraries() -> None:
    interpreter, names, _paths = read_dynamic(Path(sys.executable).resolve().read_bytes())
    assert "ld-linux" in interpreter
    assert "libc.so.6" in names


def test_a_script_needs_nothing_and_a_cut_program_is_an_error() -> None:
    assert read_dynamic(b"#!/bin/sh\n") == ("", (), ())
    with pytest.raises(RootFileError, match="damaged"):
        read_dynamic(Path(sys.executable).resolve().read_bytes()[:100])


def test_modules_are_inserted_after_those_that_they_need() -> None:
    folder = "/lib/modules/6.1/extra/nvidia"
    dependencies = {
        "nvidia_drm": (f"{folder}/nvidia-drm.ko", f"{folder}/nvidia-modeset.ko", f"{folder}/nvidia.ko", "/x/drm.ko"),
        "nvidia_modeset": (f"{folder}/nvidia-modeset.ko", f"{folder}/nvidia.ko"),
        "nvidia": (f"{folder}/nvidia.ko",),
    }
    found = order_modules(["nvidia-drm", "nvidia-modeset", "nvidia"], dependencies)
    assert [(i.module, i.needs) for i in found] == [
        ("nvidia", ()),
        ("nvidia-modeset", ("nvidia",)),
        ("nvidia-drm", ("nvidia_modeset", "nvidia")),
    ]
    alone = found[2].otherwise
    assert alone is not None
    assert (alone.label, alone.file, alone.before) == ("nvidia-drm:alone", f"{folder}/nvidia-drm.ko", ("drm",))
    with pytest.raises(RootFileError, match=r"nvidia-uvm is not in modules\.dep"):
        order_modules(["nvidia-uvm"], dependencies)


def test_an_archive_is_the_same_bytes_for_the_same_entries(tmp_path: Path) -> None:
    (tmp_path / "content").write_bytes(b"abcde")
    entries = [folder_entry("d"), file_entry("d/f", tmp_path / "content", executable=True), link_entry("l", "d/f")]
    for name in ("one", "two"):
        write_cpio(entries, tmp_path / name)
    data = (tmp_path / "one").read_bytes()
    assert data == (tmp_path / "two").read_bytes()
    assert data.count(b"070701") == 4
    assert len(data) % 4 == 0
    assert b"abcde" + bytes(3) + b"070701" in data


def test_a_signature_is_told_from_the_module() -> None:
    tail = struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, 3) + b"~Module signature appended~\n"
    assert split_signature(b"module" + b"p7s" + tail) == (b"module", b"p7s" + tail)
    assert split_signature(b"module") == (b"module", b"")


@pytest.mark.parametrize("data", [b"", b"MZ", bytes(4096), b"MZ" + bytes(58) + b"\x40\0\0\0" + bytes(400)])
def test_what_is_no_pe_image_is_told(data: bytes) -> None:
    with pytest.raises(ValueError, match="PE"):
        image_signers(data)


def test_an_unsigned_image_has_no_signers() -> None:
    image = bytearray(1024)
    image[:2], image[0x3C:0x40], image[0x40:0x44] = b"MZ", struct.pack("<I", 0x40), b"PE\0\0"
    image[0x40 + 24 : 0x40 + 26] = struct.pack("<H", 0x20B)
    assert image_signers(bytes(image)) == ()


def describe(folder: Path, name: str, *features: str, form: str = "raw", code: str = "code") -> None:
    for file in (code, "vars"):
        (folder / file).touch()
    document = {
        "mapping": {
            "device": "flash",
            "executable": {"filename": str(folder / code), "format": form},
            "nvram-template": {"filename": str(folder / "vars"), "format": form},
        },
        "targets": [{"architecture": "x86_64", "machines": ["pc-q35-*"]}],
        "features": list(features),
    }
    (folder / name).write_text(json.dumps(document))


def test_the_first_secure_firmware_with_an_empty_store_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(qemu, "_DESCRIPTORS", (tmp_path,))
    describe(tmp_path, "10.json", "secure-boot", "requires-smm", "enrolled-keys", code="enrolled")
    describe(tmp_path, "20.json", "secure-boot", "requires-smm", form="qcow2", code="qcow2")
    (tmp_path / "25.json").write_text('{"mapping": {"device": "memory"}}')
    describe(tmp_path, "30.json", "secure-boot", "requires-smm", code="this")
    describe(tmp_path, "40.json", "acpi-s3", code="plain")
    assert qemu.find_secure_firmware() == qemu.Firmware(code=tmp_path / "this", variables=tmp_path / "vars")


def test_without_such_firmware_the_package_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(qemu, "_DESCRIPTORS", (tmp_path / "none",))
    with pytest.raises(ToolMissingError) as caught:
        qemu.find_secure_firmware()
    assert "ovmf" in str(caught.value.hint)
