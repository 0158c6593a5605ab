"""rsync: files to and from a folder, a host over ssh, or an rsync daemon.

Secrets never stand in an argument: ssh takes its keys from its own configuration or an agent, a daemon's password comes
from ``RSYNC_PASSWORD`` in the environment of repobuild.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from builder.tools.run import run

_TIMEOUT = 24 * 3600.0  # seconds for one call; a connection on which nothing moves ends much sooner
_STILL = 300  # seconds without a byte
_PASSED = ("RSYNC_PASSWORD", "SSH_AUTH_SOCK", "HOME", "RSYNC_PROXY")
_HOST = re.compile(r"(?P<host>([A-Za-z0-9._-]+@)?[A-Za-z0-9][A-Za-z0-9.-]*):[^:].*")


def host_of(place: str) -> str | None:
    """``user@host`` of ``user@host:/folder``; None for a folder or a daemon's address."""
    match = None if "://" in place else _HOST.fullmatch(place)
    return match["host"] if match else None


class Rsync:
    """Copies; made by ``open_rsync``. What comes out has the modes of a web server's files, whatever the source has."""

    def __init__(self, shell: Sequence[str]) -> None:
        self._shell = ("-e", shlex.join(shell)) if shell else ()

    def copy(self, sources: Sequence[str | Path], target: str | Path, *options: str) -> None:
        """A trailing slash of a source means what is in it. Raises ToolError, ToolMissingError and their kin."""
        # -s: names are no words for a remote shell. No times of folders: nobody reads them.
        words = ("-rlt", "-s", "--omit-dir-times", "--chmod=Du=rwx,Dgo=rx,Fu=rw,Fgo=r", f"--timeout={_STILL}")
        argv = ("rsync", *words, *self._shell, *options, "--", *map(str, sources), str(target))
        run(argv, timeout=_TIMEOUT, env=_environment())


@contextmanager
def open_rsync(place: str, ssh_config: Path | None = None) -> Iterator[Rsync]:
    """For copies to and from a place; to a host all of them go through one connection, which ends with this.

    (Were repobuild killed, ssh would end by itself a little later.)
    """
    host = host_of(place)
    if host is None:
        yield Rsync(())
        return
    own = Path(tempfile.mkdtemp(prefix="rb-ssh-", dir="/tmp"))
    shared = ("-oControlMaster=auto", f"-oControlPath={own}/%C", "-oControlPersist=20")
    ssh = ("ssh", "-oBatchMode=yes", *shared, *(("-F", str(ssh_config.absolute())) if ssh_config else ()))
    try:
        yield Rsync(ssh)
    finally:
        if any(own.iterdir()):
            run((*ssh, "-O", "exit", host), timeout=30, env=_environment(), ok=range(256))
        shutil.rmtree(own, ignore_errors=True)


def _environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _PASSED if name in os.environ}
