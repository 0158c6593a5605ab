"""A run as its watchers see it: table, lines, logs, events, metrics, summary."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from pathlib import Path

import jsonschema
import pytest
from prometheus_client.parser import text_string_to_metric_families
from rich.console import Console

from builder.cli.follow import LogFollower
from builder.cli.live import Board, LiveTable, duration, render_board
from builder.cli.progress import PlainProgress, open_progress
from builder.cli.watch import Watch
from builder.errors import BuildError, DiskFullError, PartialFailureError, PublishError, RepobuildError
from builder.model.cells import Action, Decision, Unit
from builder.model.planning import UnitOutcome
from builder.model.run import DistributionReport, RunReport
from builder.pipeline.event_lines import event_schema
from builder.pipeline.events import Event, State
from builder.pipeline.outcome import worst_failure
from builder.plan.units import kmod_unit
from builder.report import count_lines, markdown
from tests.golden import sample


def console(*, terminal: bool = False, height: int = 24) -> tuple[Console, io.StringIO]:
    file = io.StringIO()
    return Console(file=file, force_terminal=terminal, width=100, height=height, color_system=None), file


def event(subject: str, state: State, stage: str = "build", **more: object) -> Event:
    return Event(stage=stage, subject=subject, state=state, **more)  # type: ignore[arg-type]


def text_of(board: Board, height: int = 24) -> str:
    out, file = console(height=height)
    out.print(render_board(board, height=height))
    return file.getvalue()


def test_the_table_shows_stage_time_what_is_left_and_the_last_line_of_the_log(tmp_path: Path) -> None:
    log = tmp_path / "build.log"
    log.write_text("first\n  CC nv.o\n")
    now = [100.0]
    board = Board(clock=lambda: now[0])
    board.take(event("r535@k1", "queued", expected=200.0))
    board.take(event("r550@k1", "queued", expected=60.0))
    board.take(event("r535@k1", "started", expected=200.0))
    board.take(event("r535@k1", "log", log=log))
    now[0] = 165.0
    row = next(line for line in text_of(board).splitlines() if "r535@k1" in line)
    assert row.split() == ["r535@k1", "build", "1:05", "2:15", "CC", "nv.o"]
    assert board.summary() == "builds: 1 running, 1 waiting, about 3:15 more"
    now[0] = 999.0
    assert "overdue" in text_of(board)
    board.take(event("r535@k1", "failed", text="no"))
    assert "r535@k1" not in text_of(board)
    assert board.summary() == "builds: 1 failed, 1 waiting"


def test_the_table_fits_its_terminal() -> None:
    board = Board(clock=lambda: 0.0)
    for number in range(50):
        board.take(event(f"cell{number}", "started"))
    shown = text_of(board, height=10)
    assert "and 44 more" in shown
    assert len(shown.splitlines()) <= 10


@pytest.mark.parametrize(("seconds", "text"), [(0.4, "0 s"), (59.4, "59 s"), (60, "1:00"), (7629, "2:07:09")])
def test_durations_are_written_as_people_read_them(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_a_terminal_gets_the_table_and_the_rest_one_line_an_event() -> None:
    terminal, on_terminal = console(terminal=True)
    plain, lines = console()
    for out in (terminal, plain):
        with open_progress(out) as progress:
            progress(event("r535@k1", "queued", expected=1.0))
            progress(event("r535@k1", "started"))
            progress(event("r535@k1", "retry", text="attempt 1 of 5: lost; again in 1 s"))
            progress(event("r535@k1", "done", text="[2] RPMs", seconds=4.0))
    assert isinstance(open_progress(terminal), LiveTable)
    assert isinstance(open_progress(plain), PlainProgress)
    assert [line.partition("] ")[2] for line in lines.getvalue().splitlines()] == [
        "r535@k1: build started",
        "r535@k1: build retry: attempt 1 of 5: lost; again in 1 s",
        "r535@k1: build done: [2] RPMs (4.0 s)",
    ]
    assert "✔ build     r535@k1 [2] RPMs 4.0 s" in on_terminal.getvalue()
    assert "↻ build     r535@k1 attempt 1 of 5: lost; again in 1 s" in on_terminal.getvalue()


@pytest.mark.parametrize("terminal", [False, True])
def test_what_is_reused_in_a_row_is_one_line(*, terminal: bool) -> None:
    out, lines = console(terminal=terminal)
    with open_progress(out) as progress:
        for subject in ("r535@k1", "r535@k2", "r535@k3"):
            progress(event(subject, "reused"))
        progress(event("r550@k1", "queued", expected=5.0))
        progress(event("r550@k1", "done", text="2 RPMs"))
        progress(event("r550@k2", "reused"))
    text = lines.getvalue()
    assert "r535@k2" not in text
    first, second, third = (text.index(words) for words in ("r535@k1 and 2 more", "r550@k1", "r550@k2"))
    assert first < second < third
    assert text.count("reused" if not terminal else "↺") == 2


def test_every_line_of_a_log_is_shown_once_with_its_cell(tmp_path: Path) -> None:
    log, shown = tmp_path / "build.log", []
    log.touch()
    with LogFollower(lambda subject, line: shown.append(f"{subject}: {line}")) as follow:
        follow(event("a", "log", log=log))
        with log.open("w") as file:
            file.write("one\ntwo\nhal")
            file.flush()
            follow._logs["a"].lines()  # whatever was read by now, the rest is not lost
            file.write("f\n")
        log.unlink()  # a build's folder goes before it is told that it is done
        follow(event("a", "done"))
        log.write_text("second build\n")
        follow(event("a", "log", log=log))
        log.unlink()
        log.write_text("on the disk, from the beginning\nlast words")
    assert shown[-3:] == ["a: second build", "a: on the disk, from the beginning", "a: last words"]
    assert "a: half" in shown


def outcome(unit: Unit, reason: str, *, code: str | None = None, result: object = None) -> UnitOutcome:
    return UnitOutcome(unit=unit, result=result, verdict=None, reason=reason, code=code)  # type: ignore[arg-type]


def report(*, error: RepobuildError | None = None) -> RunReport:
    """Three cells on two kernels: built, failed, blocked."""
    places = ((sample.K427, sample.D535), (sample.K427, sample.D550), (sample.K503, sample.D550))
    first, second, third = (kmod_unit(sample.cell(kernel, driver)) for kernel, driver in places)
    decisions = (Decision.BUILD, Decision.BUILD, Decision.BLOCKED)
    return RunReport(
        actions=tuple(
            Action(unit=u, decision=d, reason="why") for u, d in zip((first, second, third), decisions, strict=True)
        ),
        outcomes=(
            outcome(first, "built", result=object()),
            outcome(second, "gcc says <no> | never", code="build"),
            outcome(third, "no pin"),
        ),
        excluded=(),
        distributions=(
            DistributionReport(distribution=sample.EL9, arch="x86_64", streams=(), publication=None, error=error),
        ),
    )


def test_the_end_counts_by_branch_and_by_kernel() -> None:
    k427, k503 = sample.K427.release, sample.K503.release
    assert count_lines(report()) == [
        "branch r535-open  1 built",
        "branch r550-open  1 blocked, 1 failed (build)",
        f"kernel el9 {k427}  1 built, 1 failed (build)",
        f"kernel el9 {k503}  1 blocked",
    ]


def test_many_kernels_with_nothing_new_are_one_line() -> None:
    told = report()
    more = [replace(sample.K427, release=f"5.14.0-{number}.x86_64") for number in range(11)]
    units = [kmod_unit(sample.cell(kernel, driver)) for kernel in more for driver in (sample.D535, sample.D550)]
    reused = tuple(Action(unit=unit, decision=Decision.REUSE, reason="why") for unit in units)
    idle = tuple(outcome(unit, "reused", result=object()) for unit in units)
    both = replace(told, actions=(*told.actions, *reused), outcomes=(*told.outcomes, *idle))
    assert count_lines(both) == [
        "branch r535-open  1 built, 11 reused",
        "branch r550-open  11 reused, 1 blocked, 1 failed (build)",
        *count_lines(told)[2:],
        "11 kernels with nothing new  22 reused",
    ]
    few = replace(told, outcomes=idle[:4], actions=reused[:4])
    assert [line.partition("  ")[2] for line in count_lines(few)] == ["2 reused"] * 4


def test_the_markdown_summary_is_a_table_and_what_failed() -> None:
    failure = PartialFailureError("not everything is there", hint="repobuild why <cell>")
    page = markdown(report(), ["r550: gcc"], failure)
    assert page.startswith("# repobuild: exit code 70 (partial)\n\nnot everything is there\n")
    assert f"| el9 {sample.K427.release.replace('_', chr(92) + '_')} | built | **failed** |" in page
    assert "gcc says \\<no\\> \\| never |" in page
    assert "## el9/x86\\_64" not in page
    assert markdown(report(), [], None).startswith("# repobuild: done\n")


def test_a_publication_that_failed_is_worse_than_a_cell() -> None:
    assert worst_failure(report(), []) is None
    partial = worst_failure(report(), ["r550: gcc"])
    assert isinstance(partial, PartialFailureError)
    lost = worst_failure(report(error=BuildError("gate")), ["r550: gcc", "el9: not published: gate"])
    assert isinstance(lost, PublishError)
    assert (lost.exit_code, lost.details[-1]) == (50, "el9: not published: gate")
    assert "el9/x86_64" in lost.message


def metrics_of(path: Path) -> dict[str, float]:
    return {
        sample_.name + "".join(f" {v}" for _, v in sorted(sample_.labels.items())): sample_.value
        for family in text_string_to_metric_families(path.read_text())
        for sample_ in family.samples
    }


def test_events_metrics_and_summary_are_files_that_programs_read(tmp_path: Path) -> None:
    out, _ = console()
    files = {name: tmp_path / name for name in ("events", "metrics", "summary")}
    failure = PartialFailureError("missing")
    with Watch(out, **files) as watch:  # type: ignore[arg-type]
        assert metrics_of(files["metrics"])["repobuild_run_active"] == 1
        watch(event("r535@k1", "started", expected=3.0))
        watch(event("r535@k1", "progress", fraction=0.5))
        watch(event("r535@k1", "log", log=tmp_path / "build.log"))
        watch(event("r535@k1", "failed", text="no", seconds=1.23456, code="build"))
        watch.finish(report(), ["r535@k1: no"], failure)
    lines = [json.loads(line) for line in files["events"].read_text().splitlines()]
    for line in lines:
        jsonschema.validate(line, event_schema())
    assert [(line["stage"], line["state"]) for line in lines] == [
        ("run", "started"), ("build", "started"), ("build", "log"), ("build", "failed"), ("run", "failed")
    ]  # fmt: skip
    assert (lines[3]["code"], lines[3]["seconds"]) == ("build", 1.235)
    assert (lines[4]["code"], lines[4]["exit_code"]) == ("partial", 70)
    assert len({line["run"] for line in lines}) == 1
    numbers = metrics_of(files["metrics"])
    assert numbers["repobuild_run_active"] == 0
    assert numbers["repobuild_run_exit_code"] == 70
    assert numbers["repobuild_run_events build failed"] == 1
    assert numbers["repobuild_cells r550-open failed"] == 1
    assert numbers["repobuild_failed_units build"] == 1
    assert numbers["repobuild_publication_ok x86_64 el9"] == 1
    assert files["summary"].read_text().startswith("# repobuild: exit code 70 (partial)")
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(files)


def test_a_run_that_stops_early_says_so_in_every_file(tmp_path: Path) -> None:
    out, _ = console()
    files = {name: tmp_path / name for name in ("events", "metrics", "summary")}
    with pytest.raises(DiskFullError), Watch(out, **files):  # type: ignore[arg-type]
        raise DiskFullError("full", details=["1 GiB"])
    last = json.loads(files["events"].read_text().splitlines()[-1])
    assert (last["state"], last["code"], last["exit_code"]) == ("failed", "disk-full", 23)
    assert metrics_of(files["metrics"])["repobuild_run_exit_code"] == 23
    assert files["summary"].read_text() == "# repobuild: exit code 23 (disk-full)\n\nfull\n\n* 1 GiB\n"


def test_watchers_that_cannot_write_stop_no_run(tmp_path: Path) -> None:
    out, said = console()
    nowhere = tmp_path / "nowhere"
    with Watch(out, events=nowhere / "e", metrics=nowhere / "m", summary=nowhere / "s") as watch:
        watch(event("r535@k1", "started"))
    for name in ("--events", "--metrics", "--summary"):
        assert said.getvalue().count(f"{name}: cannot be written, the run goes on: ") == 1
