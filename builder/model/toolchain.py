"""Compilers by family and generation, as kernels and packages name them; generations do not mix in kernel modules.

Texts are those of CONFIG_CC_VERSION_TEXT (scripts/cc-version.sh of the kernel: the first line of ``$CC --version``):
``gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)``, ``x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0``,
``clang version 18.1.8 (Red Hat 18.1.8-3.el10)``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

_FAMILY = re.compile(r"(?:^|[\s/-])(?P<family>gcc|clang)(?![a-z])")
_BRACKETS = re.compile(r"\([^()]*\)")
_VERSION = re.compile(r"(?<![\w.-])(?P<major>[0-9]+)\.[0-9]+")
_COMMAND = re.compile(r"(?:.*-)?(?P<family>gcc|clang)(?:-(?P<major>[0-9]+)(?:\.[0-9.]+)?)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """What of a compiler must be the same for a kernel and its modules; None: not said."""

    family: str | None  # gcc or clang
    major: int | None

    def contradicts(self, other: Generation) -> bool:
        """Do both say something, and not the same?"""
        families = None not in (self.family, other.family) and self.family != other.family
        return families or (None not in (self.major, other.major) and self.major != other.major)


def generation_of_text(text: str) -> Generation:
    """What a compiler says of itself; the words in brackets are the packager's."""
    bare = _BRACKETS.sub(" ", text)
    family, version = _FAMILY.search(bare), _VERSION.search(bare)
    return Generation(family=family["family"] if family else None, major=int(version["major"]) if version else None)


def generation_of_command(name: str) -> Generation:
    """What a command or package promises by its name: ``gcc-12``, ``x86_64-linux-gnu-gcc-14``; ``gcc`` no number."""
    match = _COMMAND.fullmatch(name.rpartition("/")[2])
    if match is None:
        return Generation(family=None, major=None)
    return Generation(family=match["family"], major=int(match["major"]) if match["major"] else None)
