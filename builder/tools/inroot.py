"""Run a program inside an installed root, or one of the host's over it, in namespaces that all of it dies with.

``in_root`` and ``over_root`` make the argv; this module is also what runs inside the namespaces
(``python -m builder.tools.inroot``): it mounts the root's /proc and /dev, then becomes the program. Needs root.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from builder.tools.confine import namespaces
from builder.tools.mounts import api_filesystems

_ENVIRONMENT = {"HOME": "/root", "LC_ALL": "C", "PATH": "/usr/bin:/bin:/usr/sbin:/sbin", "TERM": "dumb"}


def in_root(root: Path, program: Sequence[str]) -> list[str]:
    """The argv that runs one of the root's own programs inside it, without network."""
    return _argv("inside", root, program)


def over_root(root: Path, program: Sequence[str]) -> list[str]:
    """The argv that runs a program of the host which enters the root itself (``rpm --root``), without network."""
    return _argv("outside", root, program)


def _argv(where: str, root: Path, program: Sequence[str]) -> list[str]:
    inner = [sys.executable, "-I", "-m", "builder.tools.inroot", where, str(root), *program]
    return [*namespaces(network=False), *inner]


def main(argv: Sequence[str]) -> None:
    """Inside the namespaces: mount, enter the root when asked to, become the program."""
    where, root, *program = argv
    api_filesystems(Path(root))
    if where == "inside":
        os.chroot(root)
        os.chdir("/")
    os.execvpe(program[0], program, _ENVIRONMENT)  # noqa: S606


if __name__ == "__main__":
    main(sys.argv[1:])
