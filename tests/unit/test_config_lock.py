"""matrix.lock.yaml: written whole, sorted, read back the same; mistakes told with their lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.config import load_lock, write_lock
from builder.errors import ConfigError, DiskFullError, StoreError
from builder.model.matrix import Lock, Pin

A = Pin(url="https://example.org/a.run", sha256="a" * 64, size=1)
B = Pin(url="file:///srv/b ü.run", sha256="0" * 64, size=2**33)


def test_a_lock_comes_back_as_it_was_written(tmp_path: Path) -> None:
    path = tmp_path / "matrix.lock.yaml"
    write_lock(path, Lock(pins=(A, B)))
    assert load_lock(path) == Lock(pins=(B, A))


def test_the_order_of_pins_does_not_change_the_bytes(tmp_path: Path) -> None:
    write_lock(tmp_path / "one", Lock(pins=(A, B)))
    write_lock(tmp_path / "two", Lock(pins=(B, A)))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


def test_the_header_says_who_writes_it_and_everybody_may_read_it(tmp_path: Path) -> None:
    path = tmp_path / "matrix.lock.yaml"
    write_lock(path, Lock(pins=(A,)))
    assert path.read_text().startswith("# written by repobuild pin")
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_missing_lock_is_an_empty_one(tmp_path: Path) -> None:
    assert load_lock(tmp_path / "none.yaml") == Lock()


def test_an_empty_lock_can_be_written(tmp_path: Path) -> None:
    write_lock(tmp_path / "lock", Lock())
    assert load_lock(tmp_path / "lock") == Lock()


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("a" * 64, "A" * 64, 5, f"pins[0].sha256: '{'A' * 64}' is not 64 lower-case hexadecimal digits"),
        ("size: 1", "size: one", 6, "pins[0].size: 'one' stands here, a whole number is wanted"),
        ("size: 1", "size: 0", 6, "pins[0].size: '0' is too small (at least 1)"),
        ("size: 1", "sise: 1", 6, "pins[0].sise: unknown key, did you mean 'size'? (allowed: sha256, size, url)"),
        ("schema: 1", "schema: 2", 2, "schema: unknown value '2' (allowed: 1)"),
    ],
)
def test_a_mistake_in_a_lock_is_told_with_its_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    path = tmp_path / "matrix.lock.yaml"
    write_lock(path, Lock(pins=(A,)))
    path.write_text(path.read_text().replace(old, new))
    with pytest.raises(ConfigError) as caught:
        load_lock(path)
    (mistake,) = caught.value.mistakes
    assert (mistake.file, mistake.line, mistake.message) == (str(path), line, message)
    assert caught.value.hint == "remove matrix.lock.yaml and run repobuild pin, which writes it whole"


def test_a_url_that_is_pinned_twice_is_a_mistake(tmp_path: Path) -> None:
    path = tmp_path / "matrix.lock.yaml"
    write_lock(path, Lock(pins=(A, Pin(url=A.url, sha256="b" * 64, size=1))))
    with pytest.raises(ConfigError, match="1 mistake in the configuration") as caught:
        load_lock(path)
    assert "stands here a second time" in caught.value.details[0]


def test_when_writing_fails_the_old_lock_stays_whole_and_nothing_is_left_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "matrix.lock.yaml"
    write_lock(path, Lock(pins=(A,)))

    def full(_fd: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("builder.config.lock.os.fsync", full)
    with pytest.raises(DiskFullError):
        write_lock(path, Lock(pins=(B,)))
    assert load_lock(path) == Lock(pins=(A,))
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_that_is_not_there_is_said_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="No such file or directory"):
        write_lock(tmp_path / "none" / "matrix.lock.yaml", Lock())
