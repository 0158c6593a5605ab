"""Every mock configuration, read by mock itself. Where mock is installed; Debian has no package of it."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest

from builder.tools.run import run, which
from tests.golden.rendered import MOCK_CONFIGS

pytestmark = pytest.mark.skipif(which("mock") is None, reason="mock is not installed: Fedora and EPEL have it")


@pytest.mark.parametrize("name", sorted(MOCK_CONFIGS))
def test_mock_takes_a_configuration_and_sees_in_it_what_was_meant(name: str) -> None:
    # Not in pytest's folder, which each session closes to others: mock reads it without privileges.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        config = Path(folder) / name
        config.write_text(MOCK_CONFIGS[name]())
        caller = {"SUDO_UID": "65534", "SUDO_GID": "65534"}
        done = run(["mock", "-r", config, "--debug-config"], timeout=300, env=caller)
    manager = {"el7.cfg": ["yum"], "fedora.cfg": ["dnf5"]}.get(name, [])  # dnf is mock's own choice and not printed
    distribution = name.removesuffix(".cfg")
    lines = done.stdout.splitlines()
    assert f"config_opts['root'] = 'repobuild-{distribution}-x86_64'" in lines
    said = [line for line in lines if line.startswith("config_opts['package_manager'] = ")]
    assert said == [f"config_opts['package_manager'] = {one!r}" for one in manager]
    assert any(line.startswith("config_opts['chroot_setup_cmd'] = 'install bash ") for line in lines)
    assert "baseurl=" in done.stdout
