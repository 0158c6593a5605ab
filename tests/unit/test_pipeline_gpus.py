"""What a run says of GPUs that hosts of the current publication would lose."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builder.model.matrix import Driver, Flavor, Kmods, Profile, Stream
from builder.model.planning import StreamPlan
from builder.model.sources import Gpu
from builder.pipeline.events import Event
from builder.pipeline.gpus import gpus_files, gpus_of, tell_lost_gpus
from builder.pipeline.workshop import Facts, Workshop
from tests.golden import sample

MAXWELL = Gpu(device="13c2", name="NVIDIA GeForce GTX 970", open=False, last_branch=None)
TURING = Gpu(device="1e04", name="NVIDIA GeForce RTX 2080 Ti", open=True, last_branch=None)
LATEST = Stream(
    name="latest",
    branch=None,
    flavor=Flavor.PROPRIETARY,
    kmods=Kmods.PRECOMPILED,
    default=True,
    summary="x",
    description="x",
    profiles=(Profile(name="default", packages=("nvidia-driver",)),),
    default_profile="default",
)


def workshop(folder: Path, events: list[Event]) -> Workshop:
    """A run that knows the lists of two drivers: 550 has dropped Maxwell."""
    lists = {sample.D535: (MAXWELL, TURING), sample.D550: (replace(MAXWELL, last_branch="535"), TURING)}
    facts = Facts()
    for driver, gpus in lists.items():
        facts.sources[driver.version, "x86_64"] = replace(sample.sources(driver), gpus=gpus)
    rest: Any = SimpleNamespace(repo_path=folder, matrix=sample.MATRIX, units=())
    return Workshop(
        settings=rest, configuration=rest, store=rest, builder=rest, signing=rest, listener=events.append, facts=facts
    )


def plan(*drivers: Driver) -> StreamPlan:
    return StreamPlan(stream=LATEST, drivers=drivers, held=())


def test_a_stream_that_moves_to_a_driver_with_fewer_gpus_is_told_and_a_rerun_is_not(tmp_path: Path) -> None:
    events: list[Event] = []
    shop = workshop(tmp_path, events)
    current = tmp_path / "el9/x86_64"
    current.mkdir(parents=True)
    for driver, told in ((sample.D535, 0), (sample.D550, 1), (sample.D550, 1)):
        tell_lost_gpus(shop, sample.EL9, "x86_64", [plan(driver)])
        assert len(events) == told
        ((name, data),) = gpus_files(shop, [plan(driver)], "x86_64")
        (current / name).write_bytes(data)
    assert events[0].subject == "el9/x86_64 latest"
    assert events[0].text == "550.163.01 drives 1 GPU model less than 535.261.03: NVIDIA GeForce GTX 970"


def test_a_stream_without_driver_or_a_driver_without_list_says_nothing(tmp_path: Path) -> None:
    shop = workshop(tmp_path, [])
    assert gpus_of(shop, plan(), "x86_64") is None
    assert gpus_of(shop, plan(sample.D470), "x86_64") is None
    assert gpus_files(shop, [plan(), plan(sample.D470)], "x86_64") == ()
