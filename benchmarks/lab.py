"""A configuration of the lab, pinned, with a key: what the benchmarks of cells and of whole runs work on."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from builder.pipeline.events import ignore
from builder.pipeline.pin import pin_sources
from builder.pipeline.settings import Settings
from builder.sign import new_key
from tests.lab.distro import LabDistro, make_distro
from tests.lab.matrix import demo_streams, stream, write_lab_matrix
from tests.lab.runfile import LabDriver


@cache
def lab() -> LabDistro:
    """The lab distribution, from its cache where it is there."""
    return make_distro()


def make_settings(
    folder: Path,
    drivers: Sequence[LabDriver],
    *,
    kernels: int,
    flavor: str | None = "open",
    modules: Sequence[str] | None = None,
    jobs: int = 0,
) -> Settings:
    """Settings of a pinned matrix below ``folder``: these drivers, one flavor (None: both), for the first kernels."""
    distro = lab()
    chosen = [kernel.release for kernel in distro.kernels][:kernels]
    branches = [driver.branch for driver in drivers]
    if flavor is None:
        streams = [*demo_streams(branches), *(stream(f"r{b}", b, "proprietary") for b in branches)]
    elif flavor == "open":
        streams = demo_streams(branches)
    else:
        streams = [stream(f"r{b}", b, flavor, default=b == branches[0]) for b in branches]
    config = write_lab_matrix(
        folder / "config",
        distro,
        drivers,
        streams,
        kernels=chosen,
        flavors=None if flavor is None else [flavor],
        modules=modules,
    )
    home = folder / "keys"
    shutil.rmtree(home, ignore_errors=True)
    new_key(home, "repobuild benchmark")
    settings = Settings(config=config, work=folder / "work", gnupghome=home, jobs=jobs, builder="chroot")
    pin_sources(settings, ignore)
    return settings
