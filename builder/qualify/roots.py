"""A client root for the levels above "static": one kernel and the packages of one cell, installed by dnf.

Scriptlets run as they would on a client, in namespaces that end with the process: nothing stays mounted or running,
also when this process is killed. What runs inside is builder.qualify.inner.
"""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter

from builder.errors import DiskFullError, QualifyError, RepobuildError, ToolError, ToolMissingError, ToolTimeoutError
from builder.model.matrix import Chroot, Kernel
from builder.tools.fork_server import ForkServer
from builder.tools.repomd import is_local
from builder.tools.rpmbuild import dbpath
from builder.tools.rpms import read_header
from builder.tools.run import tail, which

# What the initramfs takes its programs from, beside the kernel.
_PACKAGES = ("kmod", "bash", "/usr/bin/dmesg", "/usr/bin/mount")
_inside = ForkServer("builder.qualify.inner")
_TOOLS = ("unshare", "setpriv", "dnf", "rpm")
_UNREACHABLE = ("Failed to download metadata", "Cannot download", "Curl error", "Could not resolve host")
_RPM_LOG = "var/log/dnf.rpm.log"  # of the root: dnf tells of scriptlets, and what they print, nowhere else
_STAMP = re.compile(r"^\d{4}-\d\d-\d\dT\S+ ([A-Z]+) ")
_SCRIPTLET = re.compile(r"scriptlet failed|Error in \S+ scriptlet|scriptlet in rpm package")
_LINES = 40  # of dnf's words, looked at and kept


@dataclass(frozen=True, slots=True, kw_only=True)
class InstalledRoot:
    """A root with one kernel and a cell's packages."""

    path: Path  # absolute
    database: str  # path of its rpm database, inside
    packages: tuple[str, ...]  # names of the packages that are under test
    complaints: tuple[str, ...] = ()  # of their scriptlets that failed, which dnf takes for success


@dataclass(frozen=True, slots=True, kw_only=True)
class RootJob:
    """What the inner side is told."""

    chroot: Chroot
    root: Path
    dnf: Path
    specs: tuple[str, ...]
    log: Path
    timeout: float  # seconds


def make_install_root(
    chroot: Chroot,
    kernel: Kernel,
    rpms: Sequence[Path],
    root: Path,
    *,
    log: Path,
    timeout: float,
    cache: Path | None = None,
) -> InstalledRoot:
    """Install a kernel, kmod and these RPMs (with what they require of the chroot's repositories) into ``root``.

    ``root`` is made and must not exist. ``cache`` is a folder for dnf's own files which one process at a time may use
    again; without it they are thrown away. Raises QualifyError with dnf's words where the packages cannot be installed;
    ToolError where a repository cannot be reached or this is not root, ToolTimeoutError, DiskFullError,
    ToolMissingError. A failed root stays for the caller to remove.
    """
    _require_root()
    names = tuple(read_header(rpm).nevra.name for rpm in rpms)
    core = f"{kernel.core.name}-{kernel.core.evr}.{kernel.arch}"
    specs = (core, *_PACKAGES, *(str(rpm.absolute()) for rpm in rpms))
    log.parent.mkdir(parents=True, exist_ok=True)
    root.mkdir(parents=True)
    dnf = cache or root.parent / f".{root.name}-dnf"
    dnf.mkdir(parents=True, exist_ok=True)
    job = RootJob(
        chroot=chroot, root=root.absolute(), dnf=dnf.absolute(), specs=specs, log=log.absolute(), timeout=timeout
    )
    path = root.parent / f".{root.name}-job.json"
    path.write_bytes(TypeAdapter(RootJob).dump_json(job))
    try:
        _inside.run([str(path.absolute())], network=not is_local(chroot), timeout=timeout, log=log)
    except (ToolMissingError, ToolTimeoutError, DiskFullError):
        raise
    except ToolError as exc:
        raise _failure(kernel, log) from exc
    finally:
        path.unlink()
        if cache is None:
            shutil.rmtree(dnf, ignore_errors=True)
    if not (job.root / "lib/modules" / kernel.release).is_dir():
        raise QualifyError(f"{kernel.release}: {core} brought no modules of that release", log=log)
    complaints = _scriptlet_failures(job.root / _RPM_LOG, names)
    return InstalledRoot(path=job.root, database=dbpath(chroot), packages=names, complaints=complaints)


def _scriptlet_failures(log: Path, names: Sequence[str]) -> tuple[str, ...]:
    """What was said of failed scriptlets of these packages, then what any scriptlet printed; empty if none failed."""
    if not log.is_file():
        return ()
    lines = [line for line in log.read_text(errors="replace").splitlines() if line.strip()]
    said = [
        _STAMP.sub("", line).strip() for line in lines if " SUBDEBUG " not in line and "logging initialized" not in line
    ]
    failed = [line for line in said if _SCRIPTLET.search(line) and any(name in line for name in names)]
    return (*failed, *(line for line in said if line not in failed))[:_LINES] if failed else ()


def _require_root() -> None:
    if os.geteuid() != 0:
        raise ToolError(
            "the levels install, boot and secureboot need root: packages are installed into a root of their own",
            hint="run as root (sudo repobuild …), or ask for the level static only",
        )
    missing = [tool for tool in _TOOLS if which(tool) is None]
    if missing:
        raise ToolMissingError(f"programs are not installed: {', '.join(missing)}", hint="install util-linux, dnf, rpm")


def _failure(kernel: Kernel, log: Path) -> RepobuildError:
    lines = tail(log, _LINES)
    if any(word in line for line in lines for word in _UNREACHABLE):
        return ToolError(f"{kernel.release}: a repository cannot be reached", details=lines, log=log)
    return QualifyError(f"{kernel.release}: the packages cannot be installed beside it", details=lines, log=log)
