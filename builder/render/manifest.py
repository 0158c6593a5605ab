"""Where each file of a .run goes: by its type in the ``.manifest``, a few by name.

Types and their meaning: nvidia-installer's manifest.c and set_destinations() in files.c. Destinations are those of EL
distributions. Every type is either placed or left out with a reason; an unknown one is an error, so that a new kind of
file in a new driver is noticed on the day it comes.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import PurePosixPath

from builder.errors import RenderError
from builder.model.sources import ManifestEntry
from builder.render.values import require_word

LIBDIR, LIBDIR32 = "/usr/lib64", "/usr/lib"
DRIVER, LIBS, CUDA, CUDA_LIBS = "nvidia-driver", "nvidia-driver-libs", "nvidia-driver-cuda", "nvidia-driver-cuda-libs"
FIRMWARE, MODPROBE = "nvidia-firmware", "nvidia-modprobe"
SUPPORTED_GPUS = "supported-gpus/supported-gpus.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A file or symlink of a package."""

    package: str
    path: str  # absolute, as installed
    mode: str  # four octal digits
    source: str  # relative to the archive's top; "" for symlinks
    target: str  # of a symlink, else ""

    @property
    def folder(self) -> str:
        """The folder it is installed in."""
        return posixpath.dirname(self.path)


@dataclass(frozen=True, slots=True, kw_only=True)
class LeftOut:
    """A file that no package ships, and why."""

    path: str
    reason: str


# type -> (package, folder); "{path}" is the relative folder that the manifest carries, "=" takes it as it is.
_PLACES = {
    "OPENGL_LIB": (LIBS, LIBDIR),
    "OPENGL_SYMLINK": (LIBS, LIBDIR),
    "GLX_CLIENT_LIB": (LIBS, LIBDIR),
    "GLX_CLIENT_SYMLINK": (LIBS, LIBDIR),
    "EGL_CLIENT_LIB": (LIBS, LIBDIR),
    "EGL_CLIENT_SYMLINK": (LIBS, LIBDIR),
    "TLS_LIB": (LIBS, LIBDIR + "/{path}"),
    "VDPAU_LIB": (LIBS, LIBDIR + "/{path}"),
    "VDPAU_SYMLINK": (LIBS, LIBDIR + "/{path}"),
    "GBM_BACKEND_LIB": (LIBS, LIBDIR + "/gbm"),
    "GBM_BACKEND_LIB_SYMLINK": (LIBS, LIBDIR + "/gbm"),
    "WINE_LIB": (LIBS, LIBDIR + "/nvidia/wine"),
    "VULKAN_ICD_JSON": (LIBS, "/usr/share/vulkan/{path}"),
    "VULKANSC_ICD_JSON": (LIBS, "/usr/share/vulkansc/{path}"),
    "GLVND_EGL_ICD_JSON": (LIBS, "/usr/share/glvnd/egl_vendor.d"),
    "OPENGL_DATA": (LIBS, "="),
    "CUDA_LIB": (CUDA_LIBS, LIBDIR + "/{path}"),
    "CUDA_SYMLINK": (CUDA_LIBS, LIBDIR + "/{path}"),
    "OPENCL_LIB": (CUDA_LIBS, LIBDIR + "/{path}"),
    "OPENCL_LIB_SYMLINK": (CUDA_LIBS, LIBDIR + "/{path}"),
    "NVCUVID_LIB": (CUDA_LIBS, LIBDIR),
    "NVCUVID_LIB_SYMLINK": (CUDA_LIBS, LIBDIR),
    "ENCODEAPI_LIB": (CUDA_LIBS, LIBDIR),
    "ENCODEAPI_LIB_SYMLINK": (CUDA_LIBS, LIBDIR),
    "UTILITY_LIB": (CUDA_LIBS, LIBDIR),
    "UTILITY_LIB_SYMLINK": (CUDA_LIBS, LIBDIR),
    "SANDBOXUTILS_FILELIST_JSON": (CUDA_LIBS, "/usr/share/nvidia/files.d"),
    "CUDA_ICD": (CUDA, "/etc/OpenCL/vendors"),
    "UTILITY_BINARY": (DRIVER, "/usr/bin"),
    "UTILITY_BIN_SYMLINK": (DRIVER, "/usr/bin"),
    "MANPAGE": (DRIVER, "/usr/share/man/man1"),
    "APPLICATION_PROFILE": (DRIVER, "/usr/share/nvidia"),
    "XMODULE_SHARED_LIB": (DRIVER, LIBDIR + "/xorg/modules/{path}"),
    "GLX_MODULE_SHARED_LIB": (DRIVER, LIBDIR + "/xorg/modules/{path}"),
    "GLX_MODULE_SYMLINK": (DRIVER, LIBDIR + "/xorg/modules/{path}"),
    "XORG_OUTPUTCLASS_CONFIG": (DRIVER, "/usr/share/X11/xorg.conf.d"),
    "EXPLICIT_PATH": (DRIVER, "="),
    "SYSTEMD_UNIT": (DRIVER, "/usr/lib/systemd/system"),
    "SYSTEMD_SLEEP_SCRIPT": (DRIVER, "/usr/lib/systemd/system-sleep"),
    "FIRMWARE": (FIRMWARE, "/usr/lib/firmware/nvidia/{version}"),
    "NVIDIA_MODPROBE": (MODPROBE, "="),
    "NVIDIA_MODPROBE_MANPAGE": (MODPROBE, "/usr/share/man/man1"),
}
_LIBRARY_TYPES = tuple(name for name in _PLACES if name.endswith("_LIB"))
# What loaders read to find a library of either size: the same file in both packages, as rpm allows.
_FOR_BOTH = ("VULKAN_ICD_JSON", "VULKANSC_ICD_JSON", "GLVND_EGL_ICD_JSON")

# Folders that every EL system has. Each other folder of a file is owned with it: several packages may own one folder,
# and so none stays behind on a host that has nothing else in it.
_SYSTEM_FOLDERS = frozenset(
    ("/", "/etc", "/usr", "/usr/bin", "/usr/include", "/usr/lib", "/usr/lib/firmware", "/usr/lib/systemd",
     "/usr/lib/systemd/system", "/usr/lib/systemd/system-sleep", "/usr/lib64", "/usr/share", "/usr/share/man",
     "/usr/share/man/man1")
)  # fmt: skip

NOT_SHIPPED = {
    "KERNEL_MODULE": "kernel modules are built for each kernel (kmod-nvidia)",
    "KERNEL_MODULE_SRC": "the kernel trees go to kmod-nvidia and dkms-nvidia",
    "DKMS_CONF": "dkms-nvidia has its own",
    "MODULE_SIGNING_KEY": "modules are signed where they are built",
    "INSTALLER_BINARY": "dnf is the installer",
    "DOCUMENTATION": "NVIDIA publishes it for each version; only LICENSE goes into the packages",
    "DOT_DESKTOP": "belongs to nvidia-settings, which is not packaged",
    "ICON": "belongs to nvidia-settings, which is not packaged",
    "GLVND_LIB": "libglvnd is the distribution's",
    "GLVND_SYMLINK": "libglvnd is the distribution's",
    "OPENCL_WRAPPER_LIB": "the OpenCL loader is the distribution's (ocl-icd)",
    "OPENCL_WRAPPER_SYMLINK": "the OpenCL loader is the distribution's (ocl-icd)",
    "EGL_EXTERNAL_PLATFORM_JSON": "belongs to the distribution's egl-wayland, egl-gbm, egl-x11",
    "INTERNAL_UTILITY_BINARY": "a helper of nvidia-installer",
    "INTERNAL_UTILITY_LIB": "a helper of nvidia-installer",
    "INTERNAL_UTILITY_DATA": "a helper of nvidia-installer",
    "SYSTEMD_UNIT_SYMLINK": "the admin enables units (systemctl enable nvidia-suspend …)",
    "VGX_LIB": "vGPU, not part of this driver",
    "VGX_LIB_SYMLINK": "vGPU, not part of this driver",
    "GRID_LIB": "vGPU licensing, not part of this driver",
    "GRID_LIB_SYMLINK": "vGPU licensing, not part of this driver",
    "FLEXERA_LIB": "vGPU licensing, not part of this driver",
    "FLEXERA_LIB_SYMLINK": "vGPU licensing, not part of this driver",
    "LIBGL_LA": "libtool's file of a libGL that is the distribution's",
    "OPENGL_HEADER": "headers are the distribution's",
    "CUDA_HEADER": "headers come with CUDA",
}

# Names that their type would put into the wrong package, or that are not shipped (reason instead of a package).
_NAMES_NOT_SHIPPED = {
    "nvidia-installer*": "dnf is the installer",
    "nvidia-uninstall*": "dnf is the installer",
    "mkprecompiled": "a helper of nvidia-installer",
    "nvidia-settings*": "not packaged: it needs GTK, and NVIDIA publishes its source on its own",
    "libnvidia-gtk*": "belongs to nvidia-settings, which is not packaged",
    "libnvidia-wayland-client*": "belongs to nvidia-settings, which is not packaged",
    "libnvidia-egl-wayland*": "the distribution's egl-wayland owns it",
    "libnvidia-egl-gbm*": "the distribution's egl-gbm owns it",
    "libnvidia-egl-x*": "the distribution's egl-x11 owns it",
}
_NAMES = {
    "nvidia-smi*": CUDA,
    "nvidia-debugdump*": CUDA,
    "nvidia-cuda-mps-*": CUDA,
    "nvidia-persistenced*": CUDA,
    "nvidia-modprobe*": MODPROBE,
    "nvidia-pcc*": LIBS,
    "libcuda*": CUDA_LIBS,
    "libnvcuvid*": CUDA_LIBS,
    "libnvidia-cfg*": CUDA_LIBS,
    "libnvidia-encode*": CUDA_LIBS,
    "libnvidia-fbc*": LIBS,
    "libnvidia-ml.so*": CUDA_LIBS,
    "libnvidia-nvvm*": CUDA_LIBS,
    "libnvidia-opencl*": CUDA_LIBS,
    "libnvidia-opticalflow*": CUDA_LIBS,
    "libnvidia-pkcs11*": CUDA_LIBS,
    "libnvidia-ptxjitcompiler*": CUDA_LIBS,
    "libnvidia-sandboxutils*": CUDA_LIBS,
}


def owned_folders(paths: Iterable[str]) -> tuple[str, ...]:
    """The folders above these paths that their package owns, sorted."""
    return tuple(sorted({str(folder) for path in paths for folder in PurePosixPath(path).parents} - _SYSTEM_FOLDERS))


def has_compat32(manifest: tuple[ManifestEntry, ...], version: str) -> bool:
    """Whether an archive holds libraries for 32-bit programs that are packaged."""
    return any(file.source and ".so" in file.path for file in place_files(manifest, version, compat32=True)[0])


def place_files(
    manifest: tuple[ManifestEntry, ...], version: str, *, compat32: bool = False
) -> tuple[tuple[Placed, ...], tuple[LeftOut, ...]]:
    """Every entry either placed (sorted by path) or left out with its reason; ``compat32``: for the 32-bit packages.

    Raises RenderError for a type that is not known and for two different files at one place.
    """
    placed: dict[str, Placed] = {}
    left_out: list[LeftOut] = []
    for entry in manifest:
        result = _place(entry, version, compat32=compat32)
        if isinstance(result, LeftOut):
            left_out.append(result)
        elif placed.setdefault(result.path, result) != result:
            raise RenderError(
                f"driver {version}: {entry.path} and {placed[result.path].source or 'a symlink'}"
                f" would both be {result.path}"
            )
    return tuple(placed[path] for path in sorted(placed)), tuple(left_out)


def _place(entry: ManifestEntry, version: str, *, compat32: bool) -> Placed | LeftOut:
    name = posixpath.basename(entry.path)
    if entry.type not in _PLACES and entry.type not in NOT_SHIPPED:
        raise RenderError(
            f"driver {version}: {entry.path} is of type {entry.type}, which no rule places",
            hint="add the type to builder/render/manifest.py: a package and a folder, or a reason not to ship it",
        )
    if entry.path == SUPPORTED_GPUS and not compat32:  # documentation by its type, but read by programs
        return Placed(package=CUDA, path=f"/usr/share/nvidia/{name}", mode="0644", source=entry.path, target="")
    reason = NOT_SHIPPED.get(entry.type) or _match(_NAMES_NOT_SHIPPED, name) or _other_size(entry, compat32=compat32)
    if reason is not None:
        return LeftOut(path=entry.path, reason=reason)
    package, folder = _PLACES[entry.type]
    package = _match(_NAMES, name) or package
    if compat32:
        if package not in (LIBS, CUDA_LIBS):
            return LeftOut(path=entry.path, reason=f"{package} has no 32-bit package")
        folder = folder.replace(LIBDIR, LIBDIR32)
    link = entry.target is not None
    path = posixpath.normpath(posixpath.join(_folder(folder, entry, version), name))
    return Placed(
        package=package,
        path=require_word(path, f"driver {version}: path"),
        mode="0777" if link else f"{_mode(entry):04o}",
        source="" if link else require_word(entry.path, f"driver {version}: file"),
        target=_target(entry, version) if link else "",
    )


def _other_size(entry: ManifestEntry, *, compat32: bool) -> str | None:
    """Why a file is not for packages of this size."""
    if not compat32:
        return "goes into the 32-bit packages" if entry.arch == "COMPAT32" else None
    return None if entry.arch == "COMPAT32" or entry.type in _FOR_BOTH else "goes into the 64-bit packages"


def _folder(folder: str, entry: ManifestEntry, version: str) -> str:
    destination = entry.destination or ""
    if folder == "=":
        if not destination.startswith("/"):
            raise RenderError(f"driver {version}: {entry.path} ({entry.type}) names no folder of its own")
        return destination
    return folder.format(path=destination.strip("/") or ".", version=version)


def _target(entry: ManifestEntry, version: str) -> str:
    target = require_word(entry.target or "", f"driver {version}: target of {entry.path}")
    return f"../{target}" if entry.type == "GBM_BACKEND_LIB_SYMLINK" else target


def _mode(entry: ManifestEntry) -> int:
    """The manifest says what is executable; rpm looks for sonames only in executable files, so libraries are that too.

    nvidia-modprobe is setuid root as in NVIDIA's own packages: without it the first CUDA program of a user fails.
    """
    if entry.type == "NVIDIA_MODPROBE":
        return 0o4755
    return 0o755 if entry.type in _LIBRARY_TYPES or entry.mode & 0o111 else 0o644


def _match(table: dict[str, str], name: str) -> str | None:
    return next((value for pattern, value in table.items() if fnmatchcase(name, pattern)), None)
