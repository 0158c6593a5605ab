"""Every file of a .run is placed or left out with a reason."""

from __future__ import annotations

import re
from dataclasses import replace

import pytest

from builder.errors import RenderError
from builder.model.sources import ManifestEntry
from builder.render.manifest import NOT_SHIPPED, Placed, has_compat32, place_files
from tests.golden.sample import entry, manifest

V = "535.261.03"
# packageEntryFileTypeTable of nvidia-installer 590.48.01, manifest.c
INSTALLER_TYPES = re.findall(
    r"\w+",
    """
KERNEL_MODULE_SRC KERNEL_MODULE CUDA_ICD OPENGL_LIB WINE_LIB CUDA_LIB OPENCL_LIB OPENCL_WRAPPER_LIB OPENCL_LIB_SYMLINK
OPENCL_WRAPPER_SYMLINK TLS_LIB UTILITY_LIB GBM_BACKEND_LIB DOCUMENTATION APPLICATION_PROFILE MANPAGE EXPLICIT_PATH
OPENGL_SYMLINK CUDA_SYMLINK UTILITY_LIB_SYMLINK GBM_BACKEND_LIB_SYMLINK INSTALLER_BINARY UTILITY_BINARY
UTILITY_BIN_SYMLINK DOT_DESKTOP ICON XMODULE_SHARED_LIB GLX_MODULE_SHARED_LIB GLX_MODULE_SYMLINK VDPAU_LIB VDPAU_SYMLINK
NVCUVID_LIB NVCUVID_LIB_SYMLINK ENCODEAPI_LIB ENCODEAPI_LIB_SYMLINK VGX_LIB VGX_LIB_SYMLINK GRID_LIB GRID_LIB_SYMLINK
NVIDIA_MODPROBE NVIDIA_MODPROBE_MANPAGE MODULE_SIGNING_KEY XORG_OUTPUTCLASS_CONFIG DKMS_CONF GLVND_LIB GLVND_SYMLINK
GLX_CLIENT_LIB GLX_CLIENT_SYMLINK VULKAN_ICD_JSON GLVND_EGL_ICD_JSON EGL_CLIENT_LIB EGL_CLIENT_SYMLINK
EGL_EXTERNAL_PLATFORM_JSON FLEXERA_LIB FLEXERA_LIB_SYMLINK INTERNAL_UTILITY_BINARY INTERNAL_UTILITY_LIB
INTERNAL_UTILITY_DATA FIRMWARE SYSTEMD_UNIT SYSTEMD_UNIT_SYMLINK SYSTEMD_SLEEP_SCRIPT OPENGL_DATA VULKANSC_ICD_JSON
SANDBOXUTILS_FILELIST_JSON
""",
)


def place(one: ManifestEntry) -> Placed:
    placed, left_out = place_files((one,), V)
    assert not left_out
    return placed[0]


@pytest.mark.parametrize("type_", INSTALLER_TYPES)
def test_every_type_that_nvidias_installer_knows_is_placed_or_left_out(type_: str) -> None:
    target = "some-target" if type_.endswith("SYMLINK") else None
    placed, left_out = place_files((entry("some/file", type_, to="/usr/share/x", target=target),), V)
    assert len(placed) + len(left_out) == 1
    assert all(out.reason for out in left_out)


def test_nothing_of_a_manifest_is_lost() -> None:
    entries = manifest(V)
    for compat32 in (False, True):
        placed, left_out = place_files(entries, V, compat32=compat32)
        assert {p.source for p in placed if p.source} | {out.path for out in left_out} >= {
            e.path for e in entries if e.target is None
        }
        assert len(placed) + len(left_out) == len(entries)


def test_an_unknown_type_is_an_error_that_names_file_and_type() -> None:
    with pytest.raises(RenderError, match=r"libnvidia-new\.so is of type QUANTUM_LIB"):
        place_files((entry("libnvidia-new.so", "QUANTUM_LIB"),), V)


def test_two_different_files_for_one_place_are_an_error() -> None:
    two = (entry("a/libcuda.so.1", "CUDA_LIB", to="/"), entry("b/libcuda.so.1", "CUDA_LIB", to="/"))
    with pytest.raises(RenderError, match=r"a/libcuda\.so\.1|b/libcuda\.so\.1"):
        place_files(two, V)


def test_the_same_line_twice_is_one_file() -> None:
    one = entry("libcuda.so.1", "CUDA_SYMLINK", to="/", target=f"libcuda.so.{V}")
    assert len(place_files((one, one), V)[0]) == 1


@pytest.mark.parametrize(
    ("one", "package", "path"),
    [
        (entry(f"libcuda.so.{V}", "CUDA_LIB", to="/"), "nvidia-driver-cuda-libs", f"/usr/lib64/libcuda.so.{V}"),
        (entry("libnvidia-ml.so.1", "UTILITY_LIB"), "nvidia-driver-cuda-libs", "/usr/lib64/libnvidia-ml.so.1"),
        (entry(f"libnvidia-nvvm.so.{V}", "OPENGL_LIB"), "nvidia-driver-cuda-libs", f"/usr/lib64/libnvidia-nvvm.so.{V}"),
        (entry(f"libnvidia-glcore.so.{V}", "OPENGL_LIB"), "nvidia-driver-libs", f"/usr/lib64/libnvidia-glcore.so.{V}"),
        (
            entry("x/libvdpau_nvidia.so", "VDPAU_LIB", to="vdpau"),
            "nvidia-driver-libs",
            "/usr/lib64/vdpau/libvdpau_nvidia.so",
        ),
        (entry("tls/libnvidia-tls.so", "TLS_LIB", to="./"), "nvidia-driver-libs", "/usr/lib64/libnvidia-tls.so"),
        (entry("_nvngx.dll", "WINE_LIB"), "nvidia-driver-libs", "/usr/lib64/nvidia/wine/_nvngx.dll"),
        (entry("nvidia-smi", "UTILITY_BINARY"), "nvidia-driver-cuda", "/usr/bin/nvidia-smi"),
        (entry("nvidia-cuda-mps-server", "UTILITY_BINARY"), "nvidia-driver-cuda", "/usr/bin/nvidia-cuda-mps-server"),
        (entry("nvidia.icd", "CUDA_ICD"), "nvidia-driver-cuda", "/etc/OpenCL/vendors/nvidia.icd"),
        (
            entry("nvidia_drv.so", "XMODULE_SHARED_LIB", to="drivers"),
            "nvidia-driver",
            "/usr/lib64/xorg/modules/drivers/nvidia_drv.so",
        ),
        (
            entry("nvidia-dbus.conf", "EXPLICIT_PATH", to="/usr/share/dbus-1/system.d"),
            "nvidia-driver",
            "/usr/share/dbus-1/system.d/nvidia-dbus.conf",
        ),
        (entry("firmware/gsp_ga10x.bin", "FIRMWARE"), "nvidia-firmware", f"/usr/lib/firmware/nvidia/{V}/gsp_ga10x.bin"),
        (
            entry("nvidia-modprobe.1.gz", "NVIDIA_MODPROBE_MANPAGE"),
            "nvidia-modprobe",
            "/usr/share/man/man1/nvidia-modprobe.1.gz",
        ),
    ],
)
def test_a_file_goes_where_el_distributions_have_it(one: ManifestEntry, package: str, path: str) -> None:
    assert (place(one).package, place(one).path) == (package, path)


def test_a_symlink_keeps_its_target_and_gbms_points_out_of_its_folder() -> None:
    assert place(entry("libcuda.so", "CUDA_SYMLINK", to="/", target="libcuda.so.1")).target == "libcuda.so.1"
    gbm = entry("nvidia-drm_gbm.so", "GBM_BACKEND_LIB_SYMLINK", target=f"libnvidia-allocator.so.{V}")
    assert place(gbm).target == f"../libnvidia-allocator.so.{V}"


@pytest.mark.parametrize(
    ("path", "type_"),
    [
        ("nvidia-settings", "UTILITY_BINARY"),
        ("libnvidia-egl-wayland.so.1.1.11", "OPENGL_LIB"),
        ("libGL.so.1", "GLVND_LIB"),
    ],
)
def test_what_the_distribution_owns_is_left_out(path: str, type_: str) -> None:
    placed, left_out = place_files((entry(path, type_),), V)
    assert not placed
    assert left_out[0].reason


def test_32_bit_libraries_go_to_packages_of_their_own_size() -> None:
    one = entry(f"32/libcuda.so.{V}", "CUDA_LIB", arch="COMPAT32", to="/")
    assert "32-bit" in place_files((one,), V)[1][0].reason
    ((placed,), _) = place_files((one,), V, compat32=True)
    assert (placed.package, placed.path, placed.source) == (
        "nvidia-driver-cuda-libs",
        f"/usr/lib/libcuda.so.{V}",
        f"32/libcuda.so.{V}",
    )
    assert "64-bit" in place_files((replace(one, arch="NATIVE"),), V, compat32=True)[1][0].reason


def test_what_loaders_read_to_find_a_library_is_in_both() -> None:
    """A host with the 32-bit libraries alone finds them; rpm lets two architectures share a file of the same bytes."""
    one = entry("nvidia_icd.json", "VULKAN_ICD_JSON", to="icd.d")
    assert place_files((one,), V, compat32=True) == place_files((one,), V)


def test_what_is_no_library_has_no_32_bit_package() -> None:
    one = entry("32/nvidia-smi", "UTILITY_BINARY", arch="COMPAT32")
    assert "nvidia-driver-cuda has no 32-bit" in place_files((one,), V, compat32=True)[1][0].reason


def test_an_archive_holds_32_bit_libraries_when_one_would_be_packaged() -> None:
    assert has_compat32(manifest(V), V)
    assert not has_compat32(tuple(e for e in manifest(V) if e.arch != "COMPAT32"), V)
    assert not has_compat32((entry("32/libGL.so.1", "GLVND_LIB", arch="COMPAT32"),), V)


def test_libraries_are_executable_for_rpm_and_only_modprobe_is_setuid() -> None:
    assert place(replace(entry("libcuda.so.1", "CUDA_LIB", to="/"), mode=0o444)).mode == "0755"
    assert place(replace(entry("nvidia-modprobe", "NVIDIA_MODPROBE", to="/usr/bin"), mode=0o755)).mode == "4755"
    assert place(replace(entry("nvidia-smi", "UTILITY_BINARY"), mode=0o6777)).mode == "0755"
    assert place(replace(entry("nvidia.icd", "CUDA_ICD"), mode=0o666)).mode == "0644"


@pytest.mark.parametrize("path", ["a b", "a;reboot", "a$(reboot)", "a%{nil}", "a\nb", "../a'b"])
def test_a_name_that_a_shell_or_rpm_would_read_is_refused(path: str) -> None:
    with pytest.raises(RenderError, match="not a plain word"):
        place_files((entry(path, "UTILITY_BINARY"),), V)


def test_a_folder_that_leads_out_of_its_place_is_refused() -> None:
    with pytest.raises(RenderError):
        place_files((entry("x/nvidia.conf", "EXPLICIT_PATH", to="etc"),), V)
    assert all(NOT_SHIPPED.values())
