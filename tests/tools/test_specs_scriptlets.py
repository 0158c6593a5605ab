"""The gate's scriptlets in an empty root: no shell, no grubby, and with a grubby that takes down how it was called."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.model.sources import SpecFile
from builder.render import render_gate
from builder.tools.run import run
from tests.golden import sample
from tests.need import need, need_root
from tests.tools.rpm_building import build

ARGS = "nouveau.modeset=0 rd.driver.blacklist=nouveau,nova_core"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    need("rpm", "rpmbuild")
    need_root()
    for folder in ("usr/sbin", "usr/bin", "usr/lib", "dev", "var/lib/rpm"):
        (tmp_path / "root" / folder).mkdir(parents=True)
    return tmp_path / "root"


def gate(tmp_path: Path, serial: int) -> Path:
    spec: SpecFile = render_gate(sample.gate(), sample.gate_kernels(sample.K503), serial, sample.MATRIX)
    (rpm,) = build(spec, tmp_path / f"top{serial}")
    return rpm.path


def rpm(root: Path, *argv: str | Path) -> str:
    done = run(["rpm", "--root", root, "--dbpath", "/var/lib/rpm", "--nodeps", "--nosignature", *argv], timeout=60)
    assert "scriptlet" not in done.stderr
    return done.stdout + done.stderr


def add_grubby(root: Path) -> Path:
    """A grubby that notes how it was called, and the shell it needs."""
    copy_with_libraries(Path("/usr/bin/bash"), root)
    (root / "bin").symlink_to("usr/bin")
    (root / "usr/bin/sh").symlink_to("bash")
    grubby = root / "usr/sbin/grubby"
    grubby.write_text('#!/bin/sh\necho "$*" >> /calls\n')
    grubby.chmod(0o755)
    return root / "calls"


def copy_with_libraries(program: Path, root: Path) -> None:
    listing = run(["ldd", program], timeout=10).stdout
    for path in [program, *(Path(word) for word in listing.split() if word.startswith("/"))]:
        target = root / str(path).lstrip("/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
        target.chmod(0o755)


def test_a_root_without_shell_and_grubby_takes_the_gate_in_and_out(root: Path, tmp_path: Path) -> None:
    rpm(root, "-i", gate(tmp_path, 1))
    assert (root / "usr/lib/modprobe.d/nvidia.conf").is_file()
    rpm(root, "-e", "nvidia-kmod-common")
    assert not any(path.name.startswith(("nvidia", "60-nvidia", "99-nvidia")) for path in root.rglob("*"))


def test_nouveau_is_held_back_from_install_to_removal_and_upgrades_say_nothing(root: Path, tmp_path: Path) -> None:
    calls = add_grubby(root)
    rpm(root, "-i", gate(tmp_path, 1))
    assert calls.read_text().splitlines() == [f"--update-kernel=ALL --args={ARGS}"]
    rpm(root, "-U", gate(tmp_path, 2))
    assert len(calls.read_text().splitlines()) == 1
    rpm(root, "-e", "nvidia-kmod-common")
    assert calls.read_text().splitlines()[1:] == [f"--update-kernel=ALL --remove-args={ARGS}"]
