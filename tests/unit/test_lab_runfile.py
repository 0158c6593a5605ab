"""The lab's driver archives: what their manifest says, and which versions they are made of."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.lab.archive import Candidate, LabUnavailableError
from tests.lab.drivers import choose_versions
from tests.lab.installer import FIELDS, read_manifest
from tests.lab.manifest_types import file_type, symlinks
from tests.lab.runfile import manifest

V = "535.261.03"
FILES = {
    "kernel/nvidia/nv-kernel.o_binary": "KERNEL_MODULE_SRC",
    "kernel-open/Kbuild": "KERNEL_MODULE_SRC",
    "firmware/gsp_tu10x.bin": "FIRMWARE",
    f"libcuda.so.{V}": "CUDA_LIB",
    f"libcudadebugger.so.{V}": "CUDA_LIB",
    f"libnvidia-ptxjitcompiler.so.{V}": "CUDA_LIB",
    f"libnvidia-ml.so.{V}": "UTILITY_LIB",
    f"libnvidia-opencl.so.{V}": "OPENCL_LIB",
    f"libnvidia-glcore.so.{V}": "OPENGL_LIB",
    f"libnvidia-tls.so.{V}": "TLS_LIB",
    f"libGLX_nvidia.so.{V}": "GLX_CLIENT_LIB",
    f"libGLESv1_CM_nvidia.so.{V}": "EGL_CLIENT_LIB",
    f"libglxserver_nvidia.so.{V}": "GLX_MODULE_SHARED_LIB",
    "libnvidia-api.so.1": "OPENGL_LIB",
    "nvidia_drv.so": "XMODULE_SHARED_LIB",
    "nvidia-smi": "UTILITY_BINARY",
    "nvidia-cuda-mps-control": "UTILITY_BINARY",
    "nvidia-cuda-mps-control.1.gz": "MANPAGE",
    "nvidia_layers.json": "VULKAN_ICD_JSON",
    "systemd/nvidia-sleep.sh": "EXPLICIT_PATH",
    "LICENSE": "DOCUMENTATION",
}


class FakeArchive:
    """Offers what it is told to."""

    def __init__(self, offered: dict[str, Sequence[str]]) -> None:
        self._offered = offered

    def candidates(self, names: Sequence[str]) -> dict[str, list[Candidate]]:
        return {n: [Candidate(name=n, version=v, suite="s") for v in self._offered.get(n, ())] for n in names}


@pytest.mark.parametrize(("path", "expected"), FILES.items())
def test_a_file_gets_the_type_that_nvidia_gives_it(path: str, expected: str) -> None:
    line = file_type(path).line(path, 0o644)
    assert read_manifest("\n".join(["d", V, "", "m", "", "", "kernel", "p", line]))[1][0].type == expected


def test_a_file_that_no_rule_knows_is_refused() -> None:
    with pytest.raises(ValueError, match=r"libnew\.bin: no manifest type"):
        file_type("libnew.bin")


@pytest.mark.parametrize(
    ("library", "soname", "expected"),
    [
        (
            f"libcuda.so.{V}",
            "libcuda.so.1",
            [
                f"libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.{V} MODULE:gpgpu",
                "libcuda.so 0000 CUDA_SYMLINK NATIVE / libcuda.so.1 MODULE:gpgpu",
            ],
        ),
        (
            f"libnvidia-cfg.so.{V}",
            "libnvidia-cfg.so.1",
            [f"libnvidia-cfg.so.1 0000 UTILITY_LIB_SYMLINK NATIVE libnvidia-cfg.so.{V} MODULE:utils"],
        ),
        (
            f"libnvidia-allocator.so.{V}",
            "libnvidia-allocator.so.1",
            [
                f"libnvidia-allocator.so.1 0000 OPENGL_SYMLINK NATIVE libnvidia-allocator.so.{V} MODULE:opengl",
                f"nvidia-drm_gbm.so 0000 GBM_BACKEND_LIB_SYMLINK NATIVE libnvidia-allocator.so.{V} MODULE:opengl",
            ],
        ),
        (f"libnvidia-glcore.so.{V}", f"libnvidia-glcore.so.{V}", []),
        (f"libnvidia-tls.so.{V}", "libnvidia-tls.so.1", []),
        (f"libcuda.so.{V}", None, []),
    ],
)
def test_symlinks_stand_for_sonames_and_for_names_that_programs_are_linked_with(
    library: str, soname: str | None, expected: list[str]
) -> None:
    assert symlinks(library, soname, V) == expected


def test_libraries_for_32_bit_programs_lie_in_a_folder_of_their_own_and_their_links_do_not() -> None:
    path = f"32/libcuda.so.{V}"
    line = file_type(f"libcuda.so.{V}").line(path, 0o755, compat32=True)
    assert line == f"{path} 0755 CUDA_LIB COMPAT32 / MODULE:gpgpu"
    first, _ = symlinks(f"libcuda.so.{V}", "libcuda.so.1", V, compat32=True)
    assert first == f"libcuda.so.1 0000 CUDA_SYMLINK COMPAT32 / libcuda.so.{V} MODULE:gpgpu"


def test_a_manifest_lists_every_file_once_with_its_mode(tmp_path: Path) -> None:
    files = [p for p in FILES if ".so" not in p]
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(name)
    (tmp_path / "nvidia-smi").chmod(0o755)
    header, entries = read_manifest(manifest(tmp_path, V))
    assert header[:4] == (header[0], V, "", "nvidia nvidia-uvm nvidia-modeset nvidia-drm nvidia-peermem")
    assert sorted(e.path for e in entries) == sorted(files)
    assert {e.path for e in entries if e.mode == 0o755} == {"nvidia-smi"}
    assert all(e.rest for e in entries)


@pytest.mark.parametrize(
    "line",
    [
        "firmware/gsp.bin 0644 FIRMWARE MODULE:gsp",
        "nvidia-smi.1.gz 0644 MANPAGE MODULE:utils",
        "libcuda.so.1 0000 CUDA_SYMLINK NATIVE libcuda.so.2 MODULE:gpgpu",
        "libnvidia-ml.so.1 0755 UTILITY_LIB NATIVE / MODULE:utils",
        "libnvidia-ml.so.1 0755 UTILITY_LIB MODULE:utils",
    ],
)
def test_the_check_finds_a_line_that_misses_a_field_or_has_one_too_many(line: str) -> None:
    with pytest.raises(ValueError, match=r"is no|more words"):
        read_manifest("\n".join(["d", V, "", "m", "", "", "kernel", "p", line]))


def test_the_check_knows_every_type_that_the_lab_writes() -> None:
    assert {file_type(p).name for p in FILES} <= FIELDS.keys()


def test_the_newest_version_that_every_package_has_is_taken() -> None:
    archive = FakeArchive({"kernel": ["535.309.01-1", "535.261.03-1", "550.1-1"], "cuda": ["535.261.03-2", "550.1-1"]})
    assert choose_versions(archive, "535", ["kernel", "cuda"]) == (  # type: ignore[arg-type]
        "535.261.03",
        {"kernel": "535.261.03-1", "cuda": "535.261.03-2"},
    )


def test_a_package_that_is_only_offered_does_not_hold_a_version_back() -> None:
    archive = FakeArchive({"kernel": ["535.99.1-1", "535.261.03-1"], "nvvm": ["535.99.1-1"]})
    assert choose_versions(archive, "535", ["kernel"], ["nvvm"])[1] == {"kernel": "535.261.03-1"}  # type: ignore[arg-type]


def test_a_branch_that_no_version_has_whole_is_an_error_with_what_was_looked_for() -> None:
    archive = FakeArchive({"kernel": ["535.1-1"], "cuda": ["535.2-1"]})
    with pytest.raises(LabUnavailableError, match="no driver 535 with all of kernel, cuda"):
        choose_versions(archive, "535", ["kernel", "cuda"])  # type: ignore[arg-type]
