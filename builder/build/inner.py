"""What runs inside a buildroot's namespaces, as process 1 of them; this module is the server that forks it.

All mounts, and every process that a build starts, end with this process. Failures go to ``<JOB>.failure``.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
from pathlib import Path

from builder.build.failures import is_full
from builder.build.inner_build import build
from builder.build.job import FULL, read_build_job, read_root_job, write_failure
from builder.errors import RepobuildError
from builder.tools.fork_server import serve
from builder.tools.rpmbuild import BUILD_HOST


def main(argv: list[str]) -> int:
    """Do one job, ``root JOB`` or ``build JOB``.

    0 when it is done, 1 when its failure was written, FULL where the disk has no room for that.
    """
    verb, name = argv
    path = Path(name)
    # Process 1 ignores signals it has no handler for; leaving at once lets the kernel end everything else.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(143))
    os.umask(0o022)
    socket.sethostname(BUILD_HOST)
    try:
        if verb == "root":
            from builder.build.inner_root import make_root  # noqa: PLC0415  a build starts faster without

            make_root(read_root_job(path))
        else:
            build(read_build_job(path))
    except RepobuildError as exc:
        return _tell(exc, path)
    except OSError as exc:
        if not is_full(exc):
            raise
        return FULL
    return 0


def _tell(failure: RepobuildError, path: Path) -> int:
    """Write a failure beside its job, for the other side; returns the exit code."""
    try:
        write_failure(failure, path.with_suffix(".failure"))
    except OSError as exc:
        if not is_full(exc):
            raise
        return FULL
    return 1


if __name__ == "__main__":
    serve(int(sys.argv[1]), main)
