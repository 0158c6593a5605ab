"""Which ``.manifest`` type a file of a driver archive has, by its name, and the symlinks that stand for it.

Types and their fields: nvidia-installer 590.48.01, packageEntryFileTypeTable in manifest.c. What follows a type in a
line is an architecture, a folder or ``INHERIT_PATH_DEPTH:n``, a symlink's target, in that order and only where the
table says so; ``MODULE:`` names the component, for people.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

COMPAT32 = "32"  # the folder of libraries for 32-bit programs

# The type of a library's symlinks; none for those that are opened by their own name.
_LINK_TYPES = {
    "CUDA_LIB": "CUDA_SYMLINK",
    "OPENCL_LIB": "OPENCL_LIB_SYMLINK",
    "VDPAU_LIB": "VDPAU_SYMLINK",
    "OPENGL_LIB": "OPENGL_SYMLINK",
    "UTILITY_LIB": "UTILITY_LIB_SYMLINK",
    "NVCUVID_LIB": "NVCUVID_LIB_SYMLINK",
    "ENCODEAPI_LIB": "ENCODEAPI_LIB_SYMLINK",
    "GLX_CLIENT_LIB": "GLX_CLIENT_SYMLINK",
    "EGL_CLIENT_LIB": "EGL_CLIENT_SYMLINK",
}
# Libraries that programs are linked with: they also have a name without a version.
_LINKED_WITH = ("libcuda", "libnvidia-ml", "libnvcuvid", "libnvidia-encode", "libnvidia-fbc", "libnvidia-opticalflow")


@dataclass(frozen=True, slots=True, kw_only=True)
class FileType:
    """A manifest type with what else a line of it says."""

    name: str
    module: str
    folder: str = ""  # or INHERIT_PATH_DEPTH:n

    def line(self, path: str, mode: int, target: str = "", *, compat32: bool = False) -> str:
        """The manifest's line for a file of this type."""
        arch = ("COMPAT32" if compat32 else "NATIVE") if _has_arch(self.name) else ""
        words = [path, f"{mode:04o}", self.name, arch, self.folder, target, f"MODULE:{self.module}"]
        return " ".join(w for w in words if w)


# First match counts; the pattern stands for the whole path below the archive's top.
_TYPES: tuple[tuple[str, FileType], ...] = tuple(
    (pattern, FileType(name=name, module=module, folder=folder))
    for pattern, name, folder, module in (
        (r"kernel(-open)?/.*", "KERNEL_MODULE_SRC", "INHERIT_PATH_DEPTH:1", "resman"),
        (r"firmware/gsp\w*\.bin", "FIRMWARE", "INHERIT_PATH_DEPTH:1", "gsp"),
        (r"libcuda(debugger)?\.so\..*", "CUDA_LIB", "/", "gpgpu"),
        (r"libnvidia-(ptxjitcompiler|nvvm)\.so\..*", "CUDA_LIB", "/", "gpgpu"),
        (r"libnvidia-pkcs11.*\.so\..*", "CUDA_LIB", "/", "gpgpu"),
        (r"libnvidia-opencl\.so\..*", "OPENCL_LIB", "/", "opencl"),
        (r"nvidia\.icd", "CUDA_ICD", "", "opencl"),
        (r"libnvidia-(ml|cfg)\.so\..*", "UTILITY_LIB", "", "utils"),
        (r"libnvcuvid\.so\..*", "NVCUVID_LIB", "", "nvcuvid"),
        (r"libnvidia-encode\.so\..*", "ENCODEAPI_LIB", "", "encodeapi"),
        (r"libvdpau_nvidia\.so\..*", "VDPAU_LIB", "vdpau", "vdpau"),
        (r"libnvidia-tls\.so\..*", "TLS_LIB", "/", "opengl"),
        (r"libGLX_nvidia\.so\..*", "GLX_CLIENT_LIB", "", "opengl"),
        (r"lib(EGL|GLESv1_CM|GLESv2)_nvidia\.so\..*", "EGL_CLIENT_LIB", "", "opengl"),
        (r"libglxserver_nvidia\.so\..*", "GLX_MODULE_SHARED_LIB", "extensions", "opengl"),
        (r"nvidia_drv\.so", "XMODULE_SHARED_LIB", "drivers", "xserver"),
        (r"lib(nvidia-[\w-]+|nvoptix)\.so\..*", "OPENGL_LIB", "", "opengl"),
        (r"_?nvngx\.dll", "WINE_LIB", "", "ngx"),
        (r"nvoptix\.bin", "OPENGL_DATA", "/usr/share/nvidia", "optix"),
        (r"nvidia-drm-outputclass\.conf", "XORG_OUTPUTCLASS_CONFIG", "", "xserver"),
        (r"nvidia_icd\.json", "VULKAN_ICD_JSON", "icd.d", "opengl"),
        (r"nvidia_layers\.json", "VULKAN_ICD_JSON", "implicit_layer.d", "opengl"),
        (r"10_nvidia\.json", "GLVND_EGL_ICD_JSON", "", "opengl"),
        (r"nvidia-modprobe", "NVIDIA_MODPROBE", "/usr/bin", "utils"),
        (r"nvidia-(smi|debugdump|persistenced|cuda-mps-\w+)", "UTILITY_BINARY", "", "utils"),
        (r"nvidia-[\w-]+\.1\.gz", "MANPAGE", "/", "utils"),
        (r"systemd/system/[\w-]+\.service", "SYSTEMD_UNIT", "", "powerd"),
        (r"systemd/system-sleep/nvidia", "SYSTEMD_SLEEP_SCRIPT", "", "powerd"),
        (r"systemd/nvidia-sleep\.sh", "EXPLICIT_PATH", "/usr/bin", "powerd"),
        (r"LICENSE|README\.\w+", "DOCUMENTATION", "/", "installer"),
        (r"supported-gpus/supported-gpus\.json", "DOCUMENTATION", "/supported-gpus", "installer"),
    )
)

# Links by a name that is not the library's soname: library without version, link, its type.
_EXTRA_LINKS = (
    ("libGLX_nvidia", "libGLX_indirect.so.0", FileType(name="GLX_CLIENT_SYMLINK", module="opengl")),
    ("libnvidia-allocator", "nvidia-drm_gbm.so", FileType(name="GBM_BACKEND_LIB_SYMLINK", module="opengl")),
    (
        "libglxserver_nvidia",
        "libglxserver_nvidia.so",
        FileType(name="GLX_MODULE_SYMLINK", module="opengl", folder="extensions"),
    ),
)


def _has_arch(name: str) -> bool:
    """Whether lines of that type carry an architecture: libraries and their symlinks do, X server modules do not."""
    return name.endswith(("_LIB", "_SYMLINK")) and not name.startswith(("XMODULE_", "GLX_MODULE_"))


def file_type(path: str) -> FileType:
    """The type of a file by its path below the archive's top; ValueError for one that no rule knows."""
    for pattern, found in _TYPES:
        if re.fullmatch(pattern, path):
            return found
    raise ValueError(f"{path}: no manifest type known for it")


def symlinks(library: str, soname: str | None, version: str, *, compat32: bool = False) -> list[str]:
    """Lines of the symlinks that stand for a library: its soname, the name to link with, what loaders look for.

    ``library`` is a file's name without its folder, whichever size it has.
    """
    kind = file_type(library)
    lines = []
    if kind.name in _LINK_TYPES and soname and soname != library:
        link = FileType(name=_LINK_TYPES[kind.name], module=kind.module, folder=kind.folder)
        lines.append(link.line(soname, 0, library, compat32=compat32))
        stem = library.partition(".so.")[0]
        if stem in _LINKED_WITH:
            lines.append(link.line(f"{stem}.so", 0, soname, compat32=compat32))
    for stem, name, link in _EXTRA_LINKS:
        if library == f"{stem}.so.{version}":
            lines.append(link.line(name, 0, library, compat32=compat32))
    return lines
