"""Two publications are compared as their hosts would notice it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder.model.report import SupportFacts, SupportOutcome
from builder.report import Published, difference, support_matrix
from tests.unit.test_report import FACTS, NEW, OLD, row, stream

BEFORE = replace(
    FACTS,
    streams=(stream("latest", "535.1", default=True), stream("r535-open", "535.1"), stream("r470-open", "470.1")),
    rows=(row("535.1", OLD), row("535.1", NEW, SupportOutcome.FAILED, "the compiler said no")),
)


def published(digest: str, facts: SupportFacts, **packages: str) -> Published:
    return Published(digest=digest * 64, packages=packages, support=support_matrix(facts))


def test_the_same_content_differs_in_nothing() -> None:
    found = difference(published("a", BEFORE, one="1"), published("a", BEFORE, one="1"))
    assert found.lines() == [f"{'a' * 12} -> {'a' * 12}", "nothing differs for hosts"]


def test_hosts_hear_of_drivers_kernels_streams_profiles_and_the_default() -> None:
    after = replace(
        BEFORE,
        streams=(
            stream("latest", "535.1", "550.1"),
            stream("r535-open", "535.1", default=True),
            stream("r550", "550.1"),
        ),
        rows=(row("535.1", OLD), row("535.1", NEW), row("550.1", OLD)),
    )
    before = replace(BEFORE, streams=tuple(replace(s, profiles=("default", "fm")) for s in BEFORE.streams))
    found = difference(published("a", before), published("b", after))
    assert found.hosts == (
        "new hosts: the default stream is r535-open, it was latest",
        "hosts on latest: driver 535.1 -> 550.1",
        "hosts on latest: profile default is gone",
        "hosts on latest: profile fm is gone",
        f"hosts on latest: kernel {NEW} can be installed now",
        "hosts on r470-open: the stream is gone; they keep what they have and get no more updates",
        "hosts on r535-open: profile default is gone",
        "hosts on r535-open: profile fm is gone",
        f"hosts on r535-open: kernel {NEW} can be installed now",
    )
    assert (found.streams_added, found.streams_removed) == (("r550",), ("r470-open",))


@pytest.mark.parametrize("listed", [True, False])
def test_a_kernel_that_lost_its_module_is_named_with_the_reason(listed: bool) -> None:
    kernels = FACTS.kernels if listed else tuple(k for k in FACTS.kernels if k.release != OLD)
    after = replace(BEFORE, kernels=kernels, rows=(row("535.1", OLD, SupportOutcome.FAILED, "out of memory"),))
    found = difference(published("a", BEFORE), published("b", after))
    why = "out of memory" if listed else "not in the matrix"
    assert f"hosts on r535-open: kernel {OLD} has no module any more: {why}" in found.hosts
    assert found.kernels_removed == (() if listed else (OLD,))


def test_packages_are_compared_by_name_and_by_byte() -> None:
    found = difference(published("a", BEFORE, one="1", two="2"), published("b", BEFORE, two="3", three="3"))
    assert (found.added, found.removed, found.rewritten) == (("three",), ("one",), ("two",))
    assert found.lines()[1:] == ["+ three", "- one", "! two: other bytes under the same name"]
