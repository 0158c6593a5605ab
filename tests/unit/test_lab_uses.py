"""What the lab keeps goes when nobody has used it for long, and not before."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.lab.distro import DAYS, _remove_unlinked
from tests.lab.uses import hold, prune

HOLD = """import sys
from pathlib import Path
from tests.lab.uses import hold

hold(Path(sys.argv[1]))
print(flush=True)
input()
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four states, the first used eight days ago, the last five; one that was not finished, and a link."""
    for days in (8, 7, 6, 5):
        place = tmp_path / f"state-{days}"
        place.mkdir()
        (place / "file").touch()
        used(place, days)
    (tmp_path / "half.new").mkdir()
    (tmp_path / "current").symlink_to("state-8")
    return tmp_path


def used(place: Path, days: float) -> None:
    lock = place.with_name(f"{place.name}.used")
    lock.touch()
    then = time.time() - days * 86400
    os.utime(lock, (then, then))


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir() if path.is_dir() and path.name.startswith("state")}


def test_what_was_longest_unused_goes_with_its_lock(folder: Path) -> None:
    assert [place.name for place in prune(folder, keep=2, days=3)] == ["state-7", "state-8"]
    assert names(folder) == {"state-5", "state-6"}
    assert (folder / "half.new").is_dir()
    assert {path.name for path in folder.glob("*.used")} == {"state-5.used", "state-6.used"}


def test_what_was_used_lately_stays(folder: Path) -> None:
    prune(folder, keep=0, days=6.5)
    assert names(folder) == {"state-5", "state-6"}


def test_what_another_process_uses_stays_and_is_used_now(folder: Path) -> None:
    argv = [sys.executable, "-c", HOLD, str(folder / "state-8")]
    with subprocess.Popen(argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        assert (folder / "state-8.used").stat().st_mtime > time.time() - 86400
        used(folder / "state-8", 9)  # a process that has lived for long
        prune(folder, keep=0, days=3)
        assert names(folder) == {"state-8"}
        process.stdin.write(b"\n")
    prune(folder, keep=0, days=3)
    assert names(folder) == set()


def test_what_this_process_uses_stays(folder: Path) -> None:
    assert hold(folder / "state-7") == folder / "state-7"
    used(folder / "state-7", 9)
    prune(folder, keep=0, days=3)
    assert names(folder) == {"state-7"}


def test_packages_that_no_state_links_to_go_when_they_are_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("linked", "alone"):
        (tmp_path / "rpms" / name).mkdir(parents=True)
        (tmp_path / "rpms" / name / "a.rpm").touch()
    os.link(tmp_path / "rpms/linked/a.rpm", tmp_path / "a.rpm")
    _remove_unlinked(tmp_path / "rpms")
    assert (tmp_path / "rpms/alone").is_dir()
    later = time.time() + (DAYS + 1) * 86400
    monkeypatch.setattr(time, "time", lambda: later)
    _remove_unlinked(tmp_path / "rpms")
    assert {path.name for path in (tmp_path / "rpms").iterdir()} == {"linked"}
