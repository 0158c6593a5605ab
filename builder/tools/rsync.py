"""rsync: files to and from a folder, a host over ssh, or an rsync daemon.

Secrets never stand in an argument: ssh takes its keys from its own configuration or an agent, a daemon's password comes
from ``RSYNC_PASSWORD`` in the environment of repobuild.
"""

from __future__ import annotations

import os
import shlex
from collections.abc import Sequence
from pathlib import Path

from builder.tools.run import Completed, run

_TIMEOUT = 24 * 3600.0  # seconds for one call; a connection on which nothing moves ends much sooner
_STILL = 300  # seconds without a byte
_PASSED = ("RSYNC_PASSWORD", "SSH_AUTH_SOCK", "HOME", "RSYNC_PROXY")


def rsync(
    sources: Sequence[str | Path], target: str | Path, *options: str, ssh_config: Path | None = None
) -> Completed:
    """Copy; a trailing slash of a source means what is in it. Raises ToolError, ToolMissingError and their kin.

    Modes are those of a web server's files whatever the source has; ``-s``: names are no words for a remote shell.
    """
    ssh = ["ssh", "-oBatchMode=yes", *(("-F", str(ssh_config.absolute())) if ssh_config else ())]
    env = {name: os.environ[name] for name in _PASSED if name in os.environ}
    words = ("-rlt", "-s", "--omit-dir-times", "--chmod=Du=rwx,Dgo=rx,Fu=rw,Fgo=r", f"--timeout={_STILL}")
    argv = ("rsync", *words, "-e", shlex.join(ssh), *options, "--", *map(str, sources), str(target))
    return run(argv, timeout=_TIMEOUT, env=env)
