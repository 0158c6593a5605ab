"""Stand-ins of what NVIDIA publishes beside a .run, in the layout of its archives: fabric manager, NSCQ, IMEX.

Layouts as packaged by others from the real ones: ``<name>-linux-x86_64-<version>-archive/`` on top. Programs and
libraries are compiled, so that rpm reads real sonames from them.
"""

from __future__ import annotations

import tarfile
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from builder.tools.run import run
from tests.lab.runfile import EPOCH, LabDriver

NAMES = {"fabricmanager": "fabricmanager", "nscq": "libnvidia_nscq", "imex": "nvidia-imex"}
# "*": executable; "->": a symlink and where it leads.
LAYOUT = {
    "fabricmanager": (
        "LICENSE",
        "bin/nv-fabricmanager*",
        "bin/nvidia-fabricmanager-start.sh*",
        "bin/nvswitch-audit*",
        "etc/fabricmanager.cfg",
        "etc/fabricmanager_multinode.cfg",
        "include/nv_fm_agent.h",
        "include/nv_fm_types.h",
        "lib/libnvfm.so.1",
        "share/nvidia/nvswitch/dgx2_hgx2_topology",
        "share/nvidia/nvswitch/dgxa100_hgxa100_topology",
        "systemd/nvidia-fabricmanager.service",
        "third-party-notices.txt",
    ),
    "nscq": (
        "LICENSE",
        "lib/libnvidia-nscq.so -> libnvidia-nscq.so.2",
        "lib/libnvidia-nscq.so.2 -> libnvidia-nscq.so.2.0",
        "lib/libnvidia-nscq.so.2.0 -> libnvidia-nscq.so.{version}",
        "lib/libnvidia-nscq.so.{version}*",
    ),
    "imex": (
        "LICENSE",
        "etc/nvidia-imex/config.cfg",
        "lib/systemd/system/nvidia-imex.service",
        "usr/bin/nvidia-imex*",
        "usr/bin/nvidia-imex-ctl*",
        "usr/share/doc/third-party-notices.txt",
    ),
}
_SONAMES = {"libnvfm": "libnvfm.so.1", "libnvidia-nscq": "libnvidia-nscq.so.2"}
_TEXTS = {
    ".sh": "#!/bin/sh\nexec /usr/bin/nv-fabricmanager\n",
    ".cfg": "LOG_LEVEL=4\n",
    ".service": "[Service]\nExecStart=/bin/true\n\n[Install]\nWantedBy=multi-user.target\n",
}


def top_of(kind: str, version: str) -> str:
    """The archive's one top folder."""
    return f"{NAMES[kind]}-linux-x86_64-{version}-archive"


def members_of(kind: str, version: str) -> list[tuple[str, str, bool]]:
    """(path, target of a symlink, executable) of each member."""
    members = []
    for text in LAYOUT[kind]:
        path, _, target = text.format(version=version).partition(" -> ")
        members.append((path.rstrip("*"), target, path.endswith("*")))
    return members


def write_archive(kind: str, version: str, folder: Path) -> Path:
    """An archive of a kind below ``folder``; deterministic but for the compiler."""
    folder.mkdir(parents=True, exist_ok=True)
    top = top_of(kind, version)
    path = folder / f"{top}.tar.xz"
    with tempfile.TemporaryDirectory() as tmp, tarfile.open(path, "w:xz") as archive:
        for name, target, executable in members_of(kind, version):
            entry = tarfile.TarInfo(f"{top}/{name}")
            entry.mtime = EPOCH
            if target:
                entry.type, entry.linkname = tarfile.SYMTYPE, target
                archive.addfile(entry)
                continue
            made = _made(Path(tmp), Path(name), version)
            entry.size, entry.mode = made.stat().st_size, 0o755 if executable else 0o644
            with made.open("rb") as file:
                archive.addfile(entry, file)
    return path


def with_archives(driver: LabDriver, folder: Path, kinds: Sequence[str] = tuple(LAYOUT)) -> LabDriver:
    """The driver with archives of these kinds written into ``folder``."""
    made = tuple((kind, write_archive(kind, driver.version, folder)) for kind in kinds)
    return replace(driver, archives=made)


def _made(tmp: Path, name: Path, version: str) -> Path:
    target = tmp / "member"
    code = tmp / "member.c"
    code.write_text(f'const char *version(void);\nconst char *version(void) {{ return "{version}"; }}\n')
    flags: list[str | Path] = ["-O2", "-g0", "-Wl,--build-id=none", "-o", target]
    library = name.name.partition(".so")[0]
    if library in _SONAMES:
        run(["gcc", "-shared", "-fPIC", f"-Wl,-soname,{_SONAMES[library]}", *flags, code.name], timeout=60, cwd=tmp)
    elif name.parent.name == "bin" and not name.suffix:
        with code.open("a") as file:
            file.write("int main(void) { return version()[0] == 0; }\n")
        run(["gcc", *flags, code.name], timeout=60, cwd=tmp)
    else:
        target.write_text(_TEXTS.get(name.suffix, f"stand-in {name} {version}\n"))
    return target
