"""What the journeys are walked on, beside what all end-to-end tests have."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.e2e.journey_site import LATER, SUITE, Publisher
from tests.lab.archive import Archive
from tests.lab.distro import LabDistro, make_distro
from tests.lab.kernels import LabKernel
from tests.once import made_once


@pytest.fixture(scope="session")
def distro(lab: LabDistro) -> LabDistro:
    """The lab's distribution as time goes by: with two more kernels."""
    if Archive().suite != SUITE:
        pytest.skip(f"four kernels one after the other are known of {SUITE} only")
    return make_distro(series=LATER)


@pytest.fixture(scope="session")
def kernels(distro: LabDistro) -> list[LabKernel]:
    """Four, oldest first: two that a host starts with, two that come."""
    generic = [k for k in distro.kernels if k.variant == "generic"]
    assert len(generic) == 4
    return generic


@pytest.fixture(scope="session")
def built(
    tmp_path_factory: pytest.TempPathFactory, distro: LabDistro, kernels: list[LabKernel], keys: Path
) -> Publisher:
    """One who has built all that the journeys ask for; to be copied."""

    def make(folder: Path) -> None:
        Publisher(folder, distro, keys).build(kernels)

    return Publisher(made_once(tmp_path_factory, "journeys", make), distro, keys)
