"""Plans on a console: a table for people, one plain line a unit for pipes, nothing cut off."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from builder.model.cells import Action, Decision, PackageKind
from builder.report import print_actions
from tests.golden import sample

ACTIONS = (
    Action(unit=sample.unit(PackageKind.KMOD), decision=Decision.BUILD, reason="not built yet"),
    Action(
        unit=sample.unit(PackageKind.DRIVER),
        decision=Decision.BLOCKED,
        reason="[bold]no pin[/] for NVIDIA.run",
        hint="repobuild pin --select 'r535*'",
    ),
)


def printed(actions: tuple[Action, ...], *, terminal: bool, width: int = 160) -> str:
    file = io.StringIO()
    print_actions(Console(file=file, force_terminal=terminal, width=width, color_system=None), actions)
    return file.getvalue()


def test_a_pipe_gets_one_whole_line_a_unit_and_the_counts() -> None:
    lines = printed(ACTIONS, terminal=False, width=20).splitlines()
    assert lines == [
        f"build    {ACTIONS[0].unit.id}: not built yet",
        f"blocked  {ACTIONS[1].unit.id}: [bold]no pin[/] for NVIDIA.run; next: repobuild pin --select 'r535*'",
        "1 build, 1 blocked",
    ]


@pytest.mark.parametrize("words", ["[bold]no pin[/] for NVIDIA.run", "next: repobuild pin", "1 build, 1 blocked"])
def test_a_terminal_gets_a_table_with_reasons_as_they_are(words: str) -> None:
    assert words in printed(ACTIONS, terminal=True)


def test_an_empty_plan_says_so() -> None:
    assert printed((), terminal=False) == "nothing to do\n"
