"""Run one untrusted program as nobody, without network, in a folder of its own.

``confined`` makes the argv; this module is also what runs inside the namespaces (``python -m builder.tools.confine``):
it puts a private /tmp in place, binds the given folder there, drops every privilege and becomes the program.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.tools.mounts import MS_BIND, forbid_new_privileges, mount, tmpfs

NOBODY = 65534  # uid and gid, by convention of Linux (overflowuid)
INSIDE = Path("/tmp/work")  # noqa: S108  in a private tmpfs


def confined_folder(folder: Path) -> Path:
    """The path that ``folder`` has for a confined program."""
    return INSIDE if os.geteuid() == 0 else folder


def confined(program: Sequence[str], folder: Path) -> list[str]:
    """The argv that runs a program confined, in ``folder``.

    As root: new mount, network, ipc, uts and pid namespaces (nothing it started outlives it), uid and gid 65534, no
    new privileges, ``folder`` its own and at /tmp/work. Otherwise the program runs as the caller in ``folder`` itself.
    """
    if os.geteuid() != 0:
        return list(program)
    os.chown(folder, NOBODY, NOBODY)
    inner = [sys.executable, "-I", "-m", "builder.tools.confine", str(folder), *program]
    return [*namespaces(network=False), *inner]


def namespaces(*, network: bool) -> list[str]:
    """``unshare`` with the namespaces of a build, for another program; all that runs inside dies with it."""
    private = ["-m", "-i", "-u", "-p", "-f", "--kill-child", "--propagation", "private", "--mount-proc"]
    return ["unshare", *([] if network else ["-n"]), *private, "--"]


def main(argv: Sequence[str]) -> None:
    """Inside the namespaces: confine this process, then become the program."""
    folder, *program = argv
    handle = os.open(folder, os.O_PATH | os.O_DIRECTORY)
    tmpfs(INSIDE.parent)
    INSIDE.mkdir()
    mount(f"/proc/self/fd/{handle}", INSIDE, flags=MS_BIND)
    os.close(handle)
    os.chdir(INSIDE)
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)
    forbid_new_privileges()
    os.execvp(program[0], program)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
