"""README and docs say what the program says."""

from __future__ import annotations

from tests.readme import faults


def test_help_blocks_exit_codes_and_links_are_current() -> None:
    assert faults() == []
