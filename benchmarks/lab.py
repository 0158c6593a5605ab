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
from tests.lab.matrix import demo_streams, write_lab_matrix
from tests.lab.runfile import LabDriver


@cache
def lab() -> LabDistro:
    """The lab distribution, from its cache where it is there."""
    return make_distro()


def make_settings(
    folder: Path, drivers: Sequence[LabDriver], *, kernels: int, modules: Sequence[str] | None = None
) -> Settings:
    """Settings of a pinned matrix below ``folder``: these drivers with open modules for the first kernels."""
    distro = lab()
    chosen = [kernel.release for kernel in distro.kernels][:kernels]
    branches = [driver.branch for driver in drivers]
    config = write_lab_matrix(
        folder / "config",
        distro,
        drivers,
        demo_streams(branches),
        kernels=chosen,
        flavors=["open"],
        modules=modules,
    )
    home = folder / "keys"
    shutil.rmtree(home, ignore_errors=True)
    new_key(home, "repobuild benchmark")
    settings = Settings(config=config, work=folder / "work", gnupghome=home)
    pin_sources(settings, ignore)
    return settings
