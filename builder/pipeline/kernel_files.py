"""Read kernels from their own RPMs: the entries that matrix.yaml wants, nothing derived from names."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from builder.errors import SourceError
from builder.model.report import TIME
from builder.tools.rpms import RpmHeader, extract_members, read_header

_RELEASE = re.compile(r"^/(?:usr/)?lib/modules/(?P<release>[^/]+)/vmlinuz$")
_BOOT = re.compile(r"^/boot/vmlinuz-(?P<release>[^/]+)$")
_TREE = re.compile(r"^(?P<tree>/usr/src/[^/]+(?:/[^/]+)*)/Module\.symvers$")
_TEXT = re.compile(r'^CONFIG_CC_VERSION_TEXT="(?P<text>.*)"$', re.MULTILINE)
_COMMAND = re.compile(r"^(?P<command>\S+)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DescribedKernels:
    """Entries for matrix.yaml's ``kernels``."""

    entries: list[dict[str, Any]]

    @property
    def yaml(self) -> str:
        """The entries as a YAML list."""
        return yaml.safe_dump(self.entries, sort_keys=False, width=120)


def describe_kernels(rpms: Sequence[Path], distribution: str) -> DescribedKernels:
    """Pair each kernel RPM (it owns a vmlinuz) with the devel RPM (it owns Module.symvers) of the same EVR and variant.

    Raises SourceError for a file that is neither, and for a kernel without its devel package.
    """
    headers = [(path, read_header(path)) for path in rpms]
    cores = [(p, h, r) for p, h in headers if (r := _release(h)) is not None]
    devels = [(p, h, t) for p, h in headers if (t := _tree(h)) is not None]
    for path, header in headers:
        if _release(header) is None and _tree(header) is None:
            raise SourceError(
                f"{path.name}: neither a kernel (no vmlinuz) nor a kernel-devel package (no Module.symvers)"
            )
    return DescribedKernels(entries=[_entry(core, devels, distribution) for core in cores])


def _release(header: RpmHeader) -> str | None:
    return _first(header.files, _RELEASE, "release") or _first(header.files, _BOOT, "release")


def _tree(header: RpmHeader) -> str | None:
    return _first(header.files, _TREE, "tree")


def _first(files: Iterable[str], pattern: re.Pattern[str], group: str) -> str | None:
    return next((m[group] for f in files if (m := pattern.match(f))), None)


def _entry(
    core: tuple[Path, RpmHeader, str], devels: Sequence[tuple[Path, RpmHeader, str]], distribution: str
) -> dict[str, Any]:
    path, header, release = core
    nevra = header.nevra
    variant = _variant(nevra.name)
    for devel_path, devel, tree in devels:
        same = (devel.nevra.evr, devel.nevra.arch, _variant(devel.nevra.name)) == (nevra.evr, nevra.arch, variant)
        if same:
            compiler = _compiler(devel_path, tree, devel)
            return {
                "distribution": distribution,
                "release": release,
                "arch": nevra.arch,
                "variant": variant,
                "core": {"name": nevra.name, "evr": str(nevra.evr)},
                "devel": {"name": devel.nevra.name, "evr": str(devel.nevra.evr), "path": tree},
                "compiler": compiler,
                "read": f"{path.name}, {devel_path.name}",
                **({"built": f"{datetime.fromtimestamp(built, UTC):{TIME}}"} if (built := header.build_time) else {}),
            }
    raise SourceError(
        f"{path.name}: no devel package of {nevra.evr} ({variant}) among the files given",
        hint="name the kernel's devel RPM too",
    )


def _variant(name: str) -> str:
    """What stands between ``kernel`` and the part in a package name: rt, 64k, cloud, uek …; generic when nothing."""
    words = [w for w in name.split("-") if w not in ("kernel", "core", "devel")]
    return "-".join(words) or "generic"


def _compiler(rpm: Path, tree: str, devel: RpmHeader) -> dict[str, str]:
    """The compiler of the kernel's own config; a Requires on a versioned compiler package names its package."""
    config = f"{tree}/.config"
    members = extract_members(rpm, (config,))
    text = _TEXT.search(members.get(config, b"").decode(errors="replace"))
    needed = [r.split()[0] for r in devel.requires if r]
    named = next((r for r in needed if re.fullmatch(r"(gcc|clang)(-[\d.]+)?", r)), "gcc")
    command = _COMMAND.match(text["text"]) if text else None
    found = {"package": named, "command": named if named != "gcc" else _short(command["command"] if command else "gcc")}
    return {**found, "version_text": text["text"]} if text else found


def _short(command: str) -> str:
    """``x86_64-linux-gnu-gcc-12`` → ``gcc-12``; ``gcc`` stays."""
    match = re.search(r"(gcc|clang)(-[\d.]+)?$", command)
    return match[0] if match else command
