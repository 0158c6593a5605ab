"""Scheduling: what the ledger measured decides; room is asked for before the start; lost mirrors are tried again."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.errors import BuildError, DiskFullError, RepobuildError, RepositoryError
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import CELL_TIMEOUT, Chroot, Lock, Pin, Source
from builder.model.sources import BuildRequest, Buildroot, KernelDevel
from builder.pipeline import schedule
from builder.pipeline.events import Event, ignore
from builder.pipeline.schedule import expect, require_space_to_build, require_space_to_fetch
from builder.pipeline.shared_builder import SharedBuilder
from builder.pipeline.specs import Job
from builder.pipeline.workers import Expected, run_all
from builder.pipeline.workshop import Facts, Workshop
from builder.store import Cost, Store
from builder.tools import attempts, machine
from tests.golden import sample

GIB = 1 << 30
CHROOT = sample.EL9.chroots[0]


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    configuration: Any = SimpleNamespace(matrix=sample.MATRIX, lock=Lock())
    settings: Any = SimpleNamespace(workers=2, cell_timeout=None, min_free=None)
    rest: Any = None
    with Store.open(tmp_path / "work") as store:
        yield Workshop(
            settings=settings,
            configuration=configuration,
            store=store,
            builder=rest,
            signing=rest,
            listener=ignore,
            facts=Facts(),
        )


def job(unit: Unit, devel: str = "") -> Job:
    rest: Any = None
    return Job(
        unit=unit,
        serial=1,
        content="",
        spec=rest,
        parts=rest,
        key="",
        buildroot=rest,
        sources=rest,
        devel=KernelDevel(release="6", sha256=devel, symvers=Path(), compiler_text=None) if devel else None,
        modules=rest,
    )


def jobs(*kinds: PackageKind) -> dict[str, Job]:
    units = [sample.unit(kind, sample.D535) for kind in kinds]
    return {unit.id: job(unit) for unit in units}


def record(shop: Workshop, unit: Unit, seconds: float, *, memory: int = 0, cores: int = 1, work: str = "whole") -> None:
    cost = Cost(
        unit_id=unit.scope,
        work=work,
        kind=schedule.kind_of(unit),
        seconds=seconds,
        memory=memory,
        jobs=cores,
        finished=seconds,
    )
    shop.store.ledger.history.record_cost(cost)


DRIVER, DKMS = sample.unit(PackageKind.DRIVER, sample.D535), sample.unit(PackageKind.DKMS, sample.D535)
CELL = sample.unit(PackageKind.KMOD, sample.D535)


def test_without_any_record_cells_come_before_packages(shop: Workshop) -> None:
    found = expect(shop, jobs(PackageKind.DKMS, PackageKind.KMOD, PackageKind.DRIVER))
    assert list(found) == [CELL.id, DKMS.id, DRIVER.id]
    assert found[CELL.id].seconds == 600.0


def test_the_longest_of_former_builds_starts_first(shop: Workshop) -> None:
    record(shop, DRIVER, 40.0)
    record(shop, DKMS, 90.0)
    record(shop, CELL, 50.0)
    found = expect(shop, jobs(PackageKind.DRIVER, PackageKind.DKMS, PackageKind.KMOD))
    assert [(i, e.seconds) for i, e in found.items()] == [(DKMS.id, 90.0), (CELL.id, 50.0), (DRIVER.id, 40.0)]


def test_one_cell_of_each_kernel_starts_before_a_second_of_any(shop: Workshop) -> None:
    cells = [sample.unit(PackageKind.KMOD, sample.driver(f"53{number}.1")) for number in range(4)]
    for number, unit in enumerate((*cells, DRIVER)):
        record(shop, unit, 100.0 - number)
    kernels = dict(zip(cells, ("a", "a", "b", "b"), strict=True))
    found = expect(shop, {unit.id: job(unit, kernels.get(unit, "")) for unit in (DRIVER, *cells)})
    assert list(found) == [cells[i].id for i in (0, 2, 1, 3)] + [DRIVER.id]


def test_what_was_never_built_is_expected_to_be_as_its_kind_was(shop: Workshop) -> None:
    for number, seconds in enumerate((10.0, 20.0, 900.0)):
        other = sample.unit(PackageKind.DRIVER, sample.driver(f"53{number}.1"))
        record(shop, other, seconds, memory=int(seconds) << 20)
    expected = expect(shop, jobs(PackageKind.DRIVER))[DRIVER.id]
    assert (expected.seconds, expected.memory) == (20.0, 900 << 20)  # the middle; of memory the largest


def test_results_of_before_costs_were_measured_tell_their_seconds(shop: Workshop) -> None:
    shop.store.ledger.record_result("k", DRIVER.scope, 33.0, 1.0)
    assert expect(shop, jobs(PackageKind.DRIVER))[DRIVER.id].seconds == 33.0


def test_memory_grows_with_the_processors_that_a_build_will_have(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(shop, CELL, 100.0, memory=GIB, cores=2)
    monkeypatch.setattr(machine, "processors", lambda: 8)
    assert expect(shop, jobs(PackageKind.KMOD))[CELL.id].memory == 4 * GIB
    monkeypatch.setattr(machine, "processors", lambda: 1)
    assert expect(shop, jobs(PackageKind.KMOD))[CELL.id].memory == GIB


def test_the_deadline_is_the_options_else_the_matrixs(shop: Workshop) -> None:
    assert expect(shop, jobs(PackageKind.DRIVER))[DRIVER.id].limit == CELL_TIMEOUT
    asked: Any = shop.settings
    asked.cell_timeout = 5.0
    assert expect(shop, jobs(PackageKind.DRIVER))[DRIVER.id].limit == 5.0


def test_too_little_room_is_said_before_the_first_build(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(schedule, "free_space", lambda _folder: 3 * GIB - 1)
    require_space_to_build(shop, 1)
    require_space_to_build(shop, 0)
    with pytest.raises(
        DiskFullError, match=r"3\.0 GiB are free, this run needs 3\.0 GiB: nothing was started"
    ) as caught:
        require_space_to_build(shop, 9)
    asked: Any = shop.settings
    asked.min_free = 2
    require_space_to_build(shop, 9)
    assert caught.value.details == ("1.0 GiB to spare", "2.0 GiB for 2 builds at the same time")


def test_sources_and_base_roots_need_room_only_while_they_are_not_there(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(schedule, "free_space", lambda _folder: 0)
    source = Source(kind="run", arch="x86_64", url="file:///d.run")
    driver = replace(sample.D535, sources=(source,))
    unit = sample.unit(PackageKind.DRIVER, driver)
    configuration: Any = shop.configuration
    configuration.lock = Lock(pins=(Pin(url=source.url, sha256="0" * 64, size=GIB // 8),))
    with pytest.raises(DiskFullError, match=r"needs 4\.0 GiB"):
        require_space_to_fetch(shop, [unit])
    shop.facts.sources[driver.version, "x86_64"] = sample.sources(driver)
    with pytest.raises(DiskFullError, match=r"needs 3\.0 GiB"):
        require_space_to_fetch(shop, [unit])
    shop.facts.buildroots[CHROOT.name] = Buildroot(chroot=CHROOT, identity="b", packages=(), path=None)
    require_space_to_fetch(shop, [unit])


class Fake:
    """A builder whose first builds fail as they are told to."""

    name, recipe = "fake", "fake 1"

    def __init__(self, failures: list[RepobuildError]) -> None:
        self.failures = failures
        self.requests: list[BuildRequest] = []

    def find(self, chroot: Chroot) -> Buildroot | None:
        raise NotImplementedError

    def prepare(self, chroot: Chroot) -> Buildroot:
        if self.failures:
            raise self.failures.pop(0)
        return Buildroot(chroot=chroot, identity="b", packages=(), path=None)

    def build(self, request: BuildRequest) -> None:
        self.requests.append(request)
        assert [p.name for p in request.resultdir.iterdir() if p.stat().st_size or p.name != "build.log"] == []
        (request.resultdir / "build.log").write_text("a line\n")
        if self.failures:
            raise self.failures.pop(0)


def request(folder: Path) -> BuildRequest:
    folder.mkdir()
    root = Buildroot(chroot=CHROOT, identity="b", packages=(), path=None)
    return BuildRequest(
        unit_id="u",
        srpm=folder,
        buildroot=root,
        resultdir=folder,
        arch="x86_64",
        source_date_epoch=0,
        timeout=99.0,
        jobs=1,
    )


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What a listener hears; pauses are not waited for."""
    monkeypatch.setattr(attempts, "pause", lambda _seconds: None)
    return []


def test_a_build_whose_mirror_was_lost_is_tried_again_and_the_ledger_knows(
    shop: Workshop, told: list[Event], tmp_path: Path
) -> None:
    fake = Fake([RepositoryError("mirror lost"), RepositoryError("still lost")])
    SharedBuilder(fake, shop.store, told.append, retries=4).build(request(tmp_path / "r"))
    assert len(fake.requests) == 3
    kept = shop.store.ledger.history.attempts("u")
    assert [(a.number, a.stage, a.code, a.message, a.wait) for a in kept] == [
        (1, "build", "repository", "mirror lost", 1.0),
        (2, "build", "repository", "still lost", 2.0),
    ]
    retries = [e.text for e in told if e.state == "retry"]
    assert retries == ["attempt 1 of 5: mirror lost; again in 1 s", "attempt 2 of 5: still lost; again in 2 s"]


def test_a_compile_error_is_built_once(shop: Workshop, told: list[Event], tmp_path: Path) -> None:
    fake = Fake([BuildError("gcc says no")])
    with pytest.raises(BuildError, match="gcc says no"):
        SharedBuilder(fake, shop.store, told.append, retries=4).build(request(tmp_path / "r"))
    assert len(fake.requests) == 1
    assert shop.store.ledger.history.attempts("u") == ()


def test_a_buildroot_whose_repository_does_not_answer_is_tried_again(shop: Workshop, told: list[Event]) -> None:
    fake = Fake([RepositoryError("no answer")])
    assert SharedBuilder(fake, shop.store, told.append, retries=1).prepare(CHROOT).identity == "b"
    assert [a.stage for a in shop.store.ledger.history.attempts(CHROOT.name)] == ["buildroot"]


def test_a_build_has_its_share_of_the_processors_and_the_time_that_is_left(
    shop: Workshop, told: list[Event], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("builder.tools.machine.processors", lambda: 6)
    fake = Fake([])
    builder = SharedBuilder(fake, shop.store, told.append, retries=0)
    expected = {"u": Expected(limit=50.0)}
    run_all({"u": lambda: builder.build(request(tmp_path / "r"))}, workers=3, expected=expected)
    (asked,) = fake.requests
    assert asked.jobs == 6
    assert asked.timeout <= 50.0
    assert asked.memory is not None
    assert [e.log for e in told if e.state == "log"] == [tmp_path / "r/build.log"]
