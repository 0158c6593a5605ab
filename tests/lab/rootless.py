"""Run a program as root of a user namespace that is nobody outside of it: what a build without privileges has.

``python -m tests.lab.rootless PROGRAM …`` (as root, who alone may map a range of ids without newuidmap). Inside, ids 0
to 65535 are FIRST to FIRST + 65535 of the machine, as /etc/subuid gives to a user for podman.
"""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.tools.mounts import bind, mount, tmpfs

FIRST, COUNT = 100000, 65536  # as Debian's adduser gives the first user
_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000  # <sched.h>
_REC_PRIVATE = 0x4000 | 0x40000  # <sys/mount.h>, MS_REC and MS_PRIVATE


def main(argv: Sequence[str]) -> int:
    """Run a program in a user namespace; returns its exit code."""
    unshare(_CLONE_NEWNS)
    mount("none", Path("/"), flags=_REC_PRIVATE)
    _open_way_to(Path(sys.executable).resolve())
    ready, unshared = os.pipe()
    mapped, go = os.pipe()
    pid = os.fork()
    if pid == 0:
        _become_root_inside(unshared, mapped)
        os.execvp(argv[0], list(argv))
    os.read(ready, 1)
    for name in ("uid_map", "gid_map"):
        Path(f"/proc/{pid}/{name}").write_text(f"0 {FIRST} {COUNT}\n")
    os.write(go, b"1")
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def unshare(flags: int) -> None:
    """As unshare(2)."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _open_way_to(program: Path) -> None:
    """Let everybody reach an interpreter that lies in somebody's closed home: seen by this process alone."""
    for folder in reversed(program.parents):
        if not folder.stat().st_mode & 0o001:
            below = program.relative_to(folder).parts[0]
            handle = os.open(folder / below, os.O_PATH)
            tmpfs(folder, mode="755")
            (folder / below).mkdir()
            bind(f"/proc/self/fd/{handle}", folder / below)
            os.close(handle)


def _become_root_inside(unshared: int, mapped: int) -> None:
    """In the child, before its exec: that would take the namespace's capabilities from an id that is not mapped."""
    unshare(_CLONE_NEWUSER | _CLONE_NEWNS)
    os.write(unshared, b"1")
    os.read(mapped, 1)
    os.setgroups([])
    os.setresgid(0, 0, 0)
    os.setresuid(0, 0, 0)
    os.environ["HOME"] = "/nonexistent"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
