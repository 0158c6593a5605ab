"""mount(2) and what goes with it, for code that makes, or runs inside, private namespaces.

Raw system calls instead of mount(8): no process for each of a dozen mounts, and sources given as open descriptors
(``/proc/self/fd/N``) are not resolved to paths that an earlier mount has hidden.
"""

from __future__ import annotations

import ctypes
import os
import signal
from collections.abc import Sequence
from pathlib import Path

# <sys/mount.h>, <sys/prctl.h>
MS_RDONLY = 1
MS_NOSUID = 2
MS_NODEV = 4
MS_NOEXEC = 8
MS_REMOUNT = 32
MS_BIND = 4096
_MS_REC = 16384
_MS_PRIVATE = 1 << 18
_MNT_DETACH = 2
_PR_SET_PDEATHSIG = 1
_PR_SET_NO_NEW_PRIVS = 38
# <linux/sched.h>
_CLONE_NEWNS = 0x00020000
_CLONE_NEWUTS = 0x04000000
_CLONE_NEWIPC = 0x08000000
_CLONE_NEWPID = 0x20000000
_CLONE_NEWNET = 0x40000000
_NODES = ("null", "zero", "full", "random", "urandom", "tty")

_libc = ctypes.CDLL(None, use_errno=True)


def mount(source: str, target: Path, kind: str = "", flags: int = 0, options: str = "") -> None:
    """mount(2); raises OSError naming the target."""
    done = _libc.mount(
        source.encode(), os.fsencode(target), kind.encode() or None, ctypes.c_ulong(flags), options.encode() or None
    )
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"mounting {kind or source}: {os.strerror(number)}", str(target))


def unmount(target: Path) -> None:
    """Take away what is mounted there, with everything mounted below; raises OSError naming the target."""
    if _libc.umount2(os.fsencode(target), _MNT_DETACH) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"unmounting: {os.strerror(number)}", str(target))


def bind(source: str | Path, target: Path, *, readonly: bool = False) -> None:
    """Bind mount a file or folder."""
    mount(str(source), target, flags=MS_BIND)
    if readonly:
        mount("", target, flags=MS_REMOUNT | MS_BIND | MS_RDONLY)


def tmpfs(target: Path, *, mode: str = "1777", size: int | None = None) -> None:
    """Mount a fresh tmpfs; ``size`` in bytes (default: half of the memory)."""
    options = f"mode={mode}" + (f",size={size}" if size else "")
    mount("tmpfs", target, "tmpfs", MS_NOSUID | MS_NODEV, options)


def overlay(lowers: Sequence[Path], upper: Path, work: Path, target: Path) -> None:
    """Mount ``lowers``, topmost first, read-only below ``upper``; nothing of it is fsynced (``volatile``)."""
    parts = {"lowerdir": lowers, "upperdir": (upper,), "workdir": (work,)}
    options = ",".join(f"{key}={':'.join(_escaped(path) for path in paths)}" for key, paths in parts.items())
    try:
        mount("overlay", target, "overlay", options=f"{options},volatile")
    except OSError:  # Linux before 5.10 has no volatile
        mount("overlay", target, "overlay", options=options)


def _escaped(path: Path) -> str:
    return str(path).replace("\\", "\\\\").replace(",", "\\,").replace(":", "\\:")


def api_filesystems(root: Path) -> None:
    """/proc, a minimal /dev with its own /dev/pts and /dev/shm, and a fresh /run-less rest as the root has it."""
    for name in ("proc", "dev"):
        (root / name).mkdir(exist_ok=True)
    mount("proc", root / "proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)
    dev = root / "dev"
    tmpfs(dev, mode="755")
    for node in _NODES:
        (dev / node).touch()
        bind(f"/dev/{node}", dev / node)
    for link, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")):
        (dev / link).symlink_to(f"/proc/self/{target}")
    (dev / "shm").mkdir()
    tmpfs(dev / "shm")
    (dev / "pts").mkdir()
    mount("devpts", dev / "pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=620")
    (dev / "ptmx").symlink_to("pts/ptmx")


def pids_for_child() -> None:
    """The next child is process 1 of a pid namespace of its own (unshare(2)); raises OSError."""
    _unshare(_CLONE_NEWPID)


def private_namespaces(*, network: bool) -> None:
    """Mounts, ipc, hostname and, unless ``network``, network of one's own, and the /proc of one's own pids.

    With ``pids_for_child`` what ``builder.tools.confine.namespaces`` is for another program. Raises OSError.
    """
    _unshare(_CLONE_NEWNS | _CLONE_NEWUTS | _CLONE_NEWIPC | (0 if network else _CLONE_NEWNET))
    mount("none", Path("/"), flags=_MS_REC | _MS_PRIVATE)
    mount("proc", Path("/proc"), "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC)


def _unshare(flags: int) -> None:
    if _libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"new namespaces: {os.strerror(number)}")


def die_with_parent() -> None:
    """SIGKILL when the thread that forked this process ends (prctl(2)); raises OSError."""
    _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def forbid_new_privileges() -> None:
    """No setuid program and no file capability gives this process or its children more than they have (prctl(2))."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def _prctl(option: int, value: int) -> None:
    if _libc.prctl(option, value, 0, 0, 0) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
