"""Which hosts must have a browser for the tests of pages."""

from __future__ import annotations

import pytest

from tests.tools.browser import archive_has_chromium


@pytest.mark.parametrize(
    ("release", "has"),
    [
        ({"ID": "debian"}, True),
        ({"ID": "ubuntu", "ID_LIKE": "debian"}, True),
        ({"ID": "fedora"}, True),
        ({"ID": "rhel", "ID_LIKE": "fedora"}, False),
        ({"ID": "rocky", "ID_LIKE": "rhel centos fedora"}, False),
    ],
)
def test_only_el_has_no_browser_in_its_archive(release: dict[str, str], has: bool) -> None:
    assert archive_has_chromium(release) is has
