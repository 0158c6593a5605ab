"""Folders of tests in memory."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests import memory


@pytest.fixture
def shm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(memory, "MEMORY", tmp_path)
    return tmp_path


def test_a_run_removes_what_ended_runs_left_and_nothing_of_a_living_one(shm: Path) -> None:
    child = os.fork()
    if child == 0:
        left = memory.session_folder(0)
        assert left is not None
        (left / "whatever").mkdir(parents=True)
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    (left,) = [path for path in shm.iterdir() if path.is_dir()]
    first = memory.session_folder(0)
    assert first is not None
    assert not left.exists()
    first.mkdir()
    second = memory.session_folder(0)
    assert second is not None
    assert second != first
    assert first.is_dir()


def test_too_little_memory_is_told(shm: Path) -> None:
    assert memory.session_folder(1 << 20) is None
    assert not memory.roomy(1 << 20)
    with memory.roomy_folder(shm / "..", 1 << 20) as folder:
        assert folder.parent == shm / ".."
    assert not folder.exists()


def test_a_folder_is_removed_but_not_what_a_link_points_to(tmp_path: Path) -> None:
    (tmp_path / "kept/below").mkdir(parents=True)
    (tmp_path / "link").symlink_to("kept")
    memory.remove(tmp_path / "link")
    assert (tmp_path / "kept/below").is_dir()
    memory.remove(tmp_path / "kept")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_a_mount_in_it_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of a test that was stopped: what is mounted there is not its own."""
    assert Path("/proc") in memory.mounts()
    (tmp_path / "root/proc").mkdir(parents=True)
    (tmp_path / "root/proc-of-none").mkdir()
    monkeypatch.setattr(memory, "mounts", lambda: [tmp_path / "root/proc"])
    memory.remove(tmp_path / "root")
    assert (tmp_path / "root/proc").is_dir()
    memory.remove(tmp_path / "root/proc-of-none")
    assert not (tmp_path / "root/proc-of-none").exists()
