"""How nvidia-installer reads a ``.manifest``: a check of what the lab writes, apart from the code under test.

Field order and types: parse_manifest() in install-from-cwd.c and packageEntryFileTypeTable in manifest.c, 590.48.01. It
takes words by position and ignores what is left, so a missing field swallows the next one: that is what is found here.
"""

from __future__ import annotations

from dataclasses import dataclass

# type: the fields that follow it, a = architecture, p = folder, i = INHERIT_PATH_DEPTH, t = target of a symlink
FIELDS = {
    "KERNEL_MODULE_SRC": "i", "DKMS_CONF": "i", "FIRMWARE": "i",
    "CUDA_LIB": "ap", "OPENCL_LIB": "ap", "TLS_LIB": "ap", "VDPAU_LIB": "ap", "OPENGL_LIB": "a", "UTILITY_LIB": "a",
    "NVCUVID_LIB": "a", "ENCODEAPI_LIB": "a", "GLX_CLIENT_LIB": "a", "EGL_CLIENT_LIB": "a", "WINE_LIB": "a",
    "CUDA_SYMLINK": "apt", "OPENCL_LIB_SYMLINK": "apt", "VDPAU_SYMLINK": "apt", "OPENGL_SYMLINK": "at",
    "UTILITY_LIB_SYMLINK": "at", "NVCUVID_LIB_SYMLINK": "at", "ENCODEAPI_LIB_SYMLINK": "at", "GLX_CLIENT_SYMLINK": "at",
    "EGL_CLIENT_SYMLINK": "at", "GBM_BACKEND_LIB_SYMLINK": "at", "GLX_MODULE_SYMLINK": "pt",
    "XMODULE_SHARED_LIB": "p", "GLX_MODULE_SHARED_LIB": "p", "DOCUMENTATION": "p", "MANPAGE": "p", "OPENGL_DATA": "p",
    "EXPLICIT_PATH": "p", "NVIDIA_MODPROBE": "p", "VULKAN_ICD_JSON": "p",
    "UTILITY_BINARY": "", "CUDA_ICD": "", "XORG_OUTPUTCLASS_CONFIG": "", "GLVND_EGL_ICD_JSON": "", "SYSTEMD_UNIT": "",
    "SYSTEMD_SLEEP_SCRIPT": "",
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """One entry as the installer takes it."""

    path: str
    mode: int
    type: str
    fields: tuple[str, ...]  # in the order of FIELDS
    rest: tuple[str, ...]  # what the installer does not look at


def read_manifest(text: str) -> tuple[tuple[str, ...], list[Line]]:
    """The eight header lines and every entry; ValueError with the line that the installer would not take."""
    header, entries = text.splitlines()[:8], text.splitlines()[8:]
    if len(header) < 8 or not (header[0] and header[1] and header[3] and header[6] and header[7]):
        raise ValueError(f"not a header: {header}")
    return tuple(header), [_line(entry) for entry in entries]


def _line(entry: str) -> Line:
    path, mode, kind, *words = entry.split(" ")
    count = len(FIELDS[kind])
    fields, rest = tuple(words[:count]), tuple(words[count:])
    for field, word in zip(FIELDS[kind], fields, strict=True):
        taken = {
            "a": word in ("NATIVE", "COMPAT32"),
            "p": not word.startswith(("MODULE:", "INHERIT")),
            "i": word.startswith("INHERIT_PATH_DEPTH:") and "/" in path,
            "t": not word.startswith("MODULE:"),
        }
        if not taken[field]:
            raise ValueError(f"{word} is no {field}: {entry}")
    if not all(word.startswith("MODULE:") for word in rest):
        raise ValueError(f"more words than the type has: {entry}")
    return Line(path=path, mode=int(mode, 8), type=kind, fields=fields, rest=rest)
