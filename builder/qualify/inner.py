"""The inner side of builder.qualify.roots: ``python -m builder.qualify.inner JOB``, as process 1 of its namespaces."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

from pydantic import TypeAdapter

from builder.errors import RepobuildError
from builder.qualify.roots import RootJob
from builder.tools.dnf import Dnf
from builder.tools.mounts import api_filesystems


def main(path: str) -> int:
    """Install; 0 when done, 1 when dnf failed (its words are logged)."""
    # Process 1 ignores signals it has no handler for; leaving at once lets the kernel end everything else.
    signal.signal(signal.SIGTERM, lambda _number, _frame: os._exit(143))
    os.umask(0o022)
    job = TypeAdapter(RootJob).validate_json(Path(path).read_bytes())
    api_filesystems(job.root)
    try:
        Dnf(job.chroot, job.dnf).install(job.root, job.specs, timeout=job.timeout, log=job.log)
    except RepobuildError as exc:
        sys.stderr.write(f"{exc.message}\n")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
