"""Planning many cells: what was rendered before is not rendered again, and the keys are those of rendering."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Matrix
from builder.model.planning import UnitState
from builder.pipeline import known_keys, specs
from builder.pipeline.specs import make_job, unit_states
from builder.pipeline.workshop import Workshop
from builder.plan import cells, units
from builder.render import render_kmod, render_modules
from tests.golden import sample
from tests.tools.big_site import big_matrix, big_site, configuration_of

KERNELS, BRANCHES = 4, 3
CELLS = KERNELS * BRANCHES * 2


@pytest.fixture
def rendered(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Ids of the units that are rendered: noted, and rendered all the same."""
    ids: list[str] = []

    def noted(shop: Workshop, unit: Unit, **options: bool) -> specs.Job | None:
        ids.append(unit.id)
        return make_job(shop, unit, record=options["record"])

    monkeypatch.setattr(specs, "make_job", noted)
    return ids


def plan(work: Path, matrix: Matrix) -> dict[str, UnitState]:
    with big_site(work, matrix) as shop:
        return {state.unit.id: state for state in unit_states(shop, shop.configuration.units)}


def test_a_second_plan_renders_nothing_and_says_the_same(tmp_path: Path, rendered: list[str]) -> None:
    matrix = big_matrix(KERNELS, BRANCHES)
    first = plan(tmp_path / "work", matrix)
    assert len(first) > CELLS
    assert sorted(rendered) == sorted(first)
    rendered.clear()
    assert plan(tmp_path / "work", matrix) == first
    assert rendered == []
    with big_site(tmp_path / "other", matrix) as shop:
        made = {unit.id: make_job(shop, unit, record=False) for unit in shop.configuration.units}
    assert {name: job.key for name, job in made.items() if job} == {name: state.key for name, state in first.items()}


def test_a_kernel_that_comes_renders_its_own_cells_only(tmp_path: Path, rendered: list[str]) -> None:
    before = plan(tmp_path / "work", big_matrix(KERNELS, BRANCHES))
    rendered.clear()
    after = plan(tmp_path / "work", big_matrix(KERNELS + 1, BRANCHES))
    kmods = {name for name, state in after.items() if state.unit.kind is PackageKind.KMOD}
    assert len(kmods) == CELLS + BRANCHES * 2
    assert kmods & set(rendered) == kmods - set(before)
    assert all(after[name].key == before[name].key for name in kmods & set(before))


@pytest.mark.parametrize("what", ["vendor", "kernel", "driver", "buildroot", "recipe", "program"])
def test_whatever_changes_the_bytes_is_noticed(
    tmp_path: Path, rendered: list[str], monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    matrix = big_matrix(KERNELS, BRANCHES)
    plan(tmp_path / "work", matrix)
    rendered.clear()
    if what == "vendor":
        matrix = replace(matrix, vendor="Another")
    if what == "program":
        monkeypatch.setattr(known_keys, "program_digest", lambda: "another")
    with big_site(tmp_path / "work", matrix) as shop:
        facts, kernel = shop.facts, matrix.distributions[0].kernels[0]
        if what == "kernel":
            devel = facts.kernels["el9", kernel.release]
            facts.kernels["el9", kernel.release] = replace(devel, sha256="f" * 64)  # type: ignore[type-var]
        if what == "driver":
            driver = matrix.branches[0].drivers[0]
            facts.sources[driver.version, "x86_64"] = replace(sample.sources(driver), source_date_epoch=5)
        if what == "buildroot":
            root = facts.buildroots["el9-x86_64"]
            facts.buildroots["el9-x86_64"] = replace(root, identity="c")  # type: ignore[type-var]
        if what == "recipe":
            shop.builder.recipe = "another"  # type: ignore[misc]
        states = {state.unit.id: state for state in unit_states(shop, shop.configuration.units)}
        for state in states.values():
            job = make_job(shop, state.unit, record=False)
            assert state.key == (job.key if job else None), state.unit.id
    kmods = {name for name, state in states.items() if state.unit.kind is PackageKind.KMOD}
    some = {"kernel": BRANCHES * 2, "driver": KERNELS * 2}
    assert len(kmods & set(rendered)) == some.get(what, CELLS)


def test_a_key_of_another_serial_is_not_taken_for_it(tmp_path: Path, rendered: list[str]) -> None:
    matrix = big_matrix(1, 1)
    with big_site(tmp_path / "work", matrix) as shop:
        (unit, *_) = shop.configuration.units
        (first,) = unit_states(shop, [unit])
        shop.store.serials.serial(unit.scope, "an older content")
        (second,) = unit_states(shop, [unit])
        job = make_job(shop, unit, record=False)
        assert job is not None
        assert (job.serial, job.key) == (2, second.key)
        assert second.key != first.key
        rendered.clear()
        assert unit_states(shop, [unit]) == (second,)
        assert rendered == []


def test_a_cells_specs_do_not_depend_on_what_is_left_out_of_its_digest() -> None:
    matrix = replace(big_matrix(2, 2), vendor=sample.MATRIX.vendor)
    for kernel in sample.KERNELS:
        cell = sample.cell(kernel)
        sources = sample.sources(cell.driver)
        alone, rest = known_keys.narrowed(cell, matrix)
        assert not any((alone.distribution.kernels, rest.branches, rest.streams, rest.distributions))
        assert render_kmod(alone, sources, rest) == render_kmod(cell, sources, matrix)
        assert render_modules(alone, sources, rest) == render_modules(cell, sources, matrix)


@pytest.mark.parametrize("branches", [2, 20])
def test_drivers_are_ordered_as_often_for_many_branches_as_for_few(
    monkeypatch: pytest.MonkeyPatch, branches: int
) -> None:
    asked: list[Matrix] = []
    real = units.drivers_by_version

    def noted(matrix: Matrix) -> object:
        asked.append(matrix)
        return real(matrix)

    for module in (units, cells):
        monkeypatch.setattr(module, "drivers_by_version", noted)
    configuration = configuration_of(big_matrix(2, branches))
    assert len(configuration.cells) == 2 * branches * 2
    assert len(asked) == 3  # cells, their streams, packages; not once a driver and stream
