"""What may stand in a spec: values that rpm, a shell or mock would read as something else are refused."""

from __future__ import annotations

import re

from builder.errors import RenderError
from builder.model.cells import Unit
from builder.model.matrix import Chroot
from builder.model.nevra import Nevra

# A word is safe in rpm dependencies, file lists and shell words alike; names are narrower still.
_WORD = re.compile(r"[A-Za-z0-9_./][A-Za-z0-9._+~^:/@-]*")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_VERSION = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+~^]*")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_PAYLOAD = re.compile(r"w[0-9]{1,2}\.(?:gzdio|bzdio|xzdio|lzdio|zstdio|ufdio)")


def rpm_text(value: object) -> object:
    """Jinja's ``finalize``: each value on its way into a spec is one line, and its ``%`` is no macro."""
    if value is None:
        raise RenderError("a value of a spec is None")
    text = str(value)
    if _CONTROL.search(text):
        raise RenderError(f"{text!r} cannot stand in a spec: it has a control character")
    return text.replace("%", "%%")


def require_word(value: str, what: str) -> str:
    """The value, when it is one word for rpm and the shell; raises RenderError."""
    if not _WORD.fullmatch(value) or "/../" in f"/{value}/":
        raise RenderError(f"{what}: {value!r} is not a plain word or path ({_WORD.pattern})")
    return value


def require_name(value: str, what: str) -> str:
    """The value, when rpm takes it as a package name; raises RenderError."""
    if not _NAME.fullmatch(value):
        raise RenderError(f"{what}: {value!r} cannot be (part of) an rpm package name ({_NAME.pattern})")
    return value


def require_nevra(nevra: Nevra) -> Nevra:
    """The NEVRA, when rpm takes its name, version and release; raises RenderError."""
    require_name(nevra.name, "package name")
    for what, value in (("version", nevra.evr.version), ("release", nevra.evr.release)):
        if not _VERSION.fullmatch(value):
            raise RenderError(f"{nevra.name}: {value!r} cannot be an rpm {what} ({_VERSION.pattern})")
    return nevra


def require_payload(value: str) -> str:
    """The value, when it is a payload description of rpm such as ``w3.zstdio``; raises RenderError."""
    if not _PAYLOAD.fullmatch(value):
        raise RenderError(f"payload {value!r} is not of the form w3.zstdio")
    return value


def unit_payload(unit: Unit) -> str:
    """How a unit's packages are compressed: hardly where they are only what its streams' packages are made of."""
    inner = unit.distribution.plain and unit.label is None
    return "w1.gzdio" if inner else require_payload(unit.distribution.payload)


def require_chroot(chroot: Chroot) -> Chroot:
    """The chroot, when its values can stand in a text that mock expands once more; raises RenderError."""
    texts = [chroot.name, chroot.arch, chroot.releasever, *chroot.packages]
    texts += [text for r in chroot.repositories for text in (r.id, r.baseurl, r.gpgkey or "x")]
    for text in texts:
        if not re.fullmatch(r"[^\s{}\\'\"]+", text):
            raise RenderError(f"{chroot.name}: {text!r} cannot stand in a mock configuration")
    return chroot
