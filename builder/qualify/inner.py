"""The inner side of builder.qualify.roots: a server, and what it forks as process 1 of a root's namespaces."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from builder.errors import RepobuildError
from builder.qualify.roots import RootJob
from builder.tools.dnf import Dnf
from builder.tools.fork_server import serve
from builder.tools.mounts import api_filesystems


def main(words: list[str]) -> int:
    """Do the job of that file; 0 when it is done, 1 when dnf failed (its words are logged)."""
    # Process 1 ignores signals it has no handler for; leaving at once lets the kernel end everything else.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(143))
    os.umask(0o022)
    (path,) = words
    job = TypeAdapter(RootJob).validate_json(Path(path).read_bytes())
    api_filesystems(job.root)
    try:
        Dnf(job.chroot, job.dnf).install(job.root, job.specs, timeout=job.timeout, log=job.log)
    except RepobuildError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    serve(int(sys.argv[1]), main)
