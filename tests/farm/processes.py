"""A scheduler and a worker as an administrator starts them: programs of their own, over TCP or TLS."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.farm.site import PRELOAD, wait_for

_MODULE = (sys.executable, "-m")
NOTHING: Mapping[str, str] = {}


@dataclass(frozen=True, slots=True, kw_only=True)
class Programs:
    """A running scheduler and what is known of it."""

    scheduler: subprocess.Popen[bytes]
    address: str


@contextmanager
def programs(folder: Path, *, protocol: str = "tcp", more: Mapping[str, str] = NOTHING) -> Iterator[Programs]:
    """``dask scheduler`` and one simulated ``dask worker``; ``more`` is added to the environment of both."""
    file = folder / "scheduler.json"
    env = {**os.environ, "REPOBUILD_WORKER": str(folder / "workers"), **more}
    options = ["--host", "127.0.0.1", "--protocol", protocol, "--no-dashboard", "--scheduler-file", str(file)]
    ours = ["--nthreads", "1", "--preload", PRELOAD, "--local-directory", str(folder)]
    first = [*_MODULE, "distributed.cli.dask_scheduler", *options, "--port", "0"]
    second = [*_MODULE, "distributed.cli.dask_worker", *options, *ours]
    with (
        subprocess.Popen(first, stderr=subprocess.DEVNULL, env=env) as scheduler,
        subprocess.Popen(second, stderr=subprocess.DEVNULL, env=env) as worker,
    ):
        try:
            address = str(wait_for(lambda: file.exists() and _address(file, protocol)))
            yield Programs(scheduler=scheduler, address=address)
        finally:
            for process in (worker, scheduler):
                process.terminate()  # a killed worker would leave its own worker process to itself


def _address(file: Path, protocol: str) -> str | None:
    return next((part for part in file.read_text().split('"') if part.startswith(f"{protocol}://")), None)
