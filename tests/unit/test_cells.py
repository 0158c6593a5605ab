"""Which cells a matrix asks for, in which order, and how globs choose among them."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.config.cell_ids import cell_ids
from builder.config.fileset import read_files
from builder.errors import SelectionError
from builder.model.cells import Cell
from builder.plan.cells import expand_cells, match, select_cells

ROOT = Path(__file__).parent.parent.parent
GOOD = Path(__file__).parent.parent / "assets" / "config" / "good"


@pytest.fixture(scope="module")
def cells() -> tuple[Cell, ...]:
    return expand_cells(load_matrix(GOOD / "matrix.yaml"))[0]


def test_cells_are_ordered_by_distribution_variant_kernel_version_and_flavor(cells: tuple[Cell, ...]) -> None:
    assert [cell.id for cell in cells] == [
        "r550-open@6.1.0-56-cloud-amd64",
        "r535:535.99.01@6.1.0-9-amd64",
        "r535@6.1.0-9-amd64",
        "r535-open@6.1.0-9-amd64",
        "r550-open@6.1.0-9-amd64",
        "r535:535.99.01@6.1.0-56-amd64",
        "r535@6.1.0-56-amd64",
        "r535-open@6.1.0-56-amd64",
        "r550-open@6.1.0-56-amd64",
        "r430@3.10.0-957.el7.x86_64",
        "r535:535.99.01@3.10.0-957.el7.x86_64",
        "r535@3.10.0-957.el7.x86_64",
        "r535-open@3.10.0-957.el7.x86_64",
        "r550-open@3.10.0-957.el7.x86_64",
    ]


def test_excluded_cells_stand_apart_with_the_reason() -> None:
    _, excluded = expand_cells(load_matrix(GOOD / "matrix.yaml"))
    assert [(cell.id, reason) for cell, reason in excluded] == [
        ("r535:535.99.01@6.1.0-56-cloud-amd64", "not wanted there"),
        ("r535@6.1.0-56-cloud-amd64", "not wanted there"),
        ("r535-open@6.1.0-56-cloud-amd64", "not wanted there"),
    ]


def test_a_kernel_that_is_no_longer_live_has_no_cells(cells: tuple[Cell, ...]) -> None:
    assert not [cell.id for cell in cells if "862" in cell.id]


def test_a_driver_that_only_dkms_streams_use_has_no_cells(cells: tuple[Cell, ...]) -> None:
    # latest-dkms could carry proprietary 430.64 on lab9; the only precompiled stream of branch 430 is for lab7
    assert [cell.distribution.name for cell in cells if cell.driver.branch == "430"] == ["lab7"]


def test_distributions_without_modules_have_cells_too(cells: tuple[Cell, ...]) -> None:
    assert any(cell.distribution.delivery.value == "branch-packages" for cell in cells)


def test_ids_are_unique_and_the_loader_computes_the_same_ones() -> None:
    matrix = load_matrix(ROOT / "matrix.yaml")
    built, excluded = expand_cells(matrix)
    ids = [cell.id for cell in (*built, *(cell for cell, _ in excluded))]
    assert len(set(ids)) == len(ids) > 100
    assert sorted(cell_ids(read_files(ROOT / "matrix.yaml", ROOT / "streams", []))) == sorted(ids)


def test_no_production_cell_is_for_a_real_time_kernel_and_the_reason_is_there() -> None:
    built, excluded = expand_cells(load_matrix(ROOT / "matrix.yaml"))
    assert not [cell for cell in built if cell.kernel.variant == "rt"]
    assert {reason for cell, reason in excluded if cell.kernel.variant == "rt"} == {
        "NVIDIA's conftest.sh refuses PREEMPT_RT kernels (preempt_rt_sanity_check; measured with 535)"
    }


@pytest.mark.parametrize(
    ("glob", "matches"),
    [("r535@*", True), ("r535-open@*", False), ("*", True), ("R535@*", False), ("r53[5-9]@6.1.0-5?-amd64", True)],
)
def test_globs_match_as_in_a_shell_and_case_counts(glob: str, matches: bool) -> None:
    assert match("r535@6.1.0-56-amd64", [glob]) is matches


def test_select_and_skip_keep_the_order_and_skip_wins(cells: tuple[Cell, ...]) -> None:
    chosen = select_cells(cells, ["r550*", "r535@*"], ["*cloud*", "*el7*"])
    assert [cell.id for cell in chosen] == [
        "r535@6.1.0-9-amd64",
        "r550-open@6.1.0-9-amd64",
        "r535@6.1.0-56-amd64",
        "r550-open@6.1.0-56-amd64",
    ]


def test_without_globs_all_cells_are_chosen(cells: tuple[Cell, ...]) -> None:
    assert select_cells(cells, [], []) == cells


def test_globs_that_match_nothing_are_all_told_with_near_names(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(SelectionError) as caught:
        select_cells(cells, ["r535-opne@6.1.0-56-amd64", "r550*"], ["zzz"])
    assert caught.value.message.startswith(
        "--select r535-opne@6.1.0-56-amd64: matches no cell; near: r535-open@6.1.0-56-amd64, "
    )
    assert caught.value.details == ("--skip zzz: matches no cell",)
    assert caught.value.hint == "repobuild cells lists every id"


def test_a_choice_that_leaves_nothing_is_refused(cells: tuple[Cell, ...]) -> None:
    with pytest.raises(SelectionError, match="--select and --skip together leave no cell"):
        select_cells(cells, ["r430*"], ["*el7*"])


def test_no_cells_and_no_globs_is_no_failure() -> None:
    assert select_cells([], [], []) == ()
