"""When things may leave: never in their lifetime, unannounced, or while hosts need them; what announcements say."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest

from builder.config import load_retired, write_retired
from builder.errors import ConfigError
from builder.model.lifetimes import Announced, Departure, RetentionRules, Retired, last_day, leaves_on
from builder.model.matrix import Matrix
from builder.pipeline.lifetimes import read_announcements, record_announcements
from builder.plan.lifetimes import decide_departures, without_retired
from builder.report import leaving_soon, left_early
from tests.golden import sample
from tests.tools.publishing import stream

RULES = RetentionRules(grace_days=10, notice_days=30, newest_kernels=1)
OLD, NEW = sample.K427, sample.K503
PLACE = f"{sample.MATRIX.distributions[0].name}/x86_64"
TODAY = date(2026, 11, 21)


def matrix(*, eol: str | None = "2026-09", branch_eol: str | None = "2026-09") -> Matrix:
    """The older of two kernels and the oldest branch have these ends."""
    (first, *_) = sample.MATRIX.distributions
    kernels = (replace(OLD, eol=eol), replace(NEW, eol=eol))
    oldest, *branches = sample.MATRIX.branches
    return replace(
        sample.MATRIX,
        distributions=(replace(first, kernels=kernels),),
        branches=(replace(oldest, eol=branch_eol), *(replace(b, eol=None) for b in branches)),
        retention=RULES,
        streams=(stream("latest", default=True), stream(f"r{oldest.name}")),
    )


def departures(
    of: Matrix, announced: dict[str, dict[str, Announced]], carried: dict[str, set[str]] | None = None
) -> dict[str, Departure]:
    return {d.name: d for d in decide_departures(of, announced, carried or {}, TODAY)}


def said(leaves: str = "2026-10-11", since: str = "2026-01-01") -> dict[str, dict[str, Announced]]:
    branch = sample.MATRIX.branches[0].name
    row = Announced(leaves=leaves, since=since)
    return {PLACE: {f"kernel {OLD.release}": row, f"kernel {NEW.release}": row, f"branch R{branch}": row}}


@pytest.mark.parametrize(
    ("eol", "day"),
    [("2026", "2026-12-31"), ("2024-02", "2024-02-29"), ("2026-09", "2026-09-30"), ("2026-09-03", "2026-09-03")],
)
def test_the_last_day_of_a_lifetime(eol: str, day: str) -> None:
    assert last_day(eol) == day


def test_something_leaves_on_the_day_after_its_days_of_grace() -> None:
    assert leaves_on("2026-09", RULES) == "2026-10-11"
    assert leaves_on("2026-09", RetentionRules()) == "2026-10-01"
    assert leaves_on(None, RULES) is None


def test_what_is_over_and_was_announced_long_enough_goes() -> None:
    found = departures(matrix(), said())
    assert found[OLD.release].goes
    assert found[sample.MATRIX.branches[0].name].goes
    assert "announced since 2026-01-01" in found[OLD.release].reason


@pytest.mark.parametrize(
    ("eol", "announced", "reason"),
    [
        (None, said(), "no end of its lifetime is known"),
        ("2026-11-11", said("2026-11-22"), "in its lifetime: leaves on 2026-11-22"),  # tomorrow
        ("2026-09", {}, "not announced yet: publish once more, which says it"),
        ("2026-09", {PLACE: {}}, f"not announced yet on {PLACE}: publish once more, which says it"),
        (
            "2026-09",
            said("2027-01-01"),
            f"not announced yet on {PLACE}: publish once more, which says it",
        ),  # a later day
        ("2026-09", said(since="2026-10-23"), "announced on 2026-10-23: not before 2026-11-22"),
    ],
)
def test_nothing_leaves_in_its_lifetime_or_unannounced(
    eol: str | None, announced: dict[str, dict[str, Announced]], reason: str
) -> None:
    found = departures(matrix(eol=eol, branch_eol=eol), announced)
    for name in (OLD.release, sample.MATRIX.branches[0].name):
        assert (found[name].goes, found[name].reason) == (False, reason)


def test_what_hosts_need_stays_though_its_time_is_over() -> None:
    found = departures(matrix(), said())
    assert not found[NEW.release].goes
    assert "one of the 1 newest generic kernels" in found[NEW.release].reason
    branch = sample.MATRIX.branches[0].name
    carried = departures(matrix(), said(), {PLACE: {branch}})
    assert carried[branch].reason == f"a stream that follows the newest driver carries it on {PLACE}"
    default = departures(replace(matrix(), streams=(stream(f"r{branch}", default=True),)), said())
    assert default[branch].reason == f"its stream r{branch} is the default: hosts that chose nothing have it"


def test_a_branch_must_be_announced_wherever_it_is_published() -> None:
    branch = sample.MATRIX.branches[0].name
    found = departures(matrix(), {**said(), "el10/x86_64": {}})
    assert found[branch].reason.startswith("not announced yet on el10/x86_64")


def test_the_matrix_without_what_was_retired() -> None:
    branch = sample.MATRIX.branches[0].name
    rows = [Retired(kind="kernel", name=OLD.release, on="2026-11-21", reason="x")]
    rows += [Retired(kind="branch", name=branch, on="2026-11-21", reason="x")]
    left = without_retired(matrix(), [*rows, Retired(kind="kernel", name="unknown", on="2026-11-21", reason="x")])
    assert [k.live for k in left.distributions[0].kernels] == [k.release != OLD.release for k in (OLD, NEW)]
    assert branch not in {b.name for b in left.branches} | {s.branch for s in left.streams}
    assert [s.name for s in left.streams] == ["latest"]
    assert without_retired(matrix(), []) == matrix()


def test_the_file_of_what_was_retired_is_read_back_and_its_mistakes_have_lines(tmp_path: Path) -> None:
    path = tmp_path / "matrix.retired.yaml"
    assert load_retired(path) == ()
    rows = (Retired(kind="branch", name="535", on="2026-11-21", reason="its lifetime is over: yes"),)
    write_retired(path, rows)
    assert load_retired(path) == rows
    path.write_text(path.read_text().replace("kind: branch", "kind: brunch").replace("2026-11-21", "2026-02-31"))
    with pytest.raises(ConfigError) as caught:
        load_retired(path)
    told = {(m.line, m.message.partition(":")[0]) for m in caught.value.mistakes}
    assert told == {(4, "retired[0].kind"), (6, "retired[0].on")}


def publication(repo: Path, leaves: str | None) -> None:
    folder = repo / "lab9/x86_64"
    folder.mkdir(parents=True, exist_ok=True)
    rows = [{"what": "branch R535", "leaves": leaves}] if leaves else []
    (folder / "support-matrix.json").write_text(json.dumps({"leaving": rows}))


def test_an_announcement_counts_from_its_first_day_and_again_when_the_day_moves_closer(tmp_path: Path) -> None:
    def since(leaves: str | None, day: int) -> str | None:
        publication(tmp_path, leaves)
        record_announcements(tmp_path, [("lab9", "x86_64")], date(2026, 1, day))
        row = read_announcements(tmp_path).get("lab9/x86_64", {}).get("branch R535")
        return row.since if row else None

    assert since("2026-06-01", 1) == "2026-01-01"
    assert since("2026-06-01", 5) == "2026-01-01"
    assert since("2026-09-01", 6) == "2026-01-01"  # later than was said: nobody is surprised
    assert since("2026-04-01", 7) == "2026-01-07"
    assert since(None, 8) is None
    assert since("2026-04-01", 9) == "2026-01-09"
    (tmp_path / "announcements.json").write_text("rubbish")
    assert since("2026-04-01", 10) == "2026-01-10"


def test_notice_begins_so_many_days_before() -> None:
    rows = [{"what": w, "leaves": day} for w, day in (("a", "2026-12-21"), ("b", "2026-12-22"), ("c", "2020-01-01"))]
    support = {"retention": {"notice_days": 30}, "leaving": rows}
    assert [row["what"] for row in leaving_soon(support, TODAY)] == ["a", "c"]
    assert leaving_soon({}, TODAY) == []  # what older versions published


def test_what_left_before_its_time_is_found_by_what_was_announced() -> None:
    def support(state: str, leaves: str | None = None) -> dict[str, object]:
        streams = {"r535": {"state": state, "driver": "535.1", "level": None, "reason": ""}}
        return {
            "branches": [{"name": "535", "leaves": leaves}],
            "streams": [{"name": "r535", "branch": "535"}],
            "kernels": [{"release": "6.1", "streams": streams}],
        }

    gone: dict[str, object] = {"kernels": []}
    assert list(left_early(support("published"), gone, "2026-01-01")) == [("6.1", "r535", "535")]
    assert list(left_early(support("published", "2026-01-02"), gone, "2026-01-01")) == [("6.1", "r535", "535")]
    assert list(left_early(support("published", "2026-01-01"), gone, "2026-01-01")) == []
    assert list(left_early(support("failed"), gone, "2026-01-01")) == []
    assert list(left_early(support("published"), support("dkms"), "2026-01-01")) == []
