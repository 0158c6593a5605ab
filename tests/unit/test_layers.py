"""Build requirements that builds share: made once, kept while used, never believed after a start of the machine."""

from __future__ import annotations

import subprocess
import sys
import threading
from contextlib import ExitStack
from pathlib import Path

import pytest

from builder.build import inner_layers
from builder.build.inner_layers import layer

MAKE = ["BuildRequires a", "BuildRequires b"]


class Installs:
    """Fills layers, counting."""

    def __init__(self) -> None:
        self.done = 0

    def __call__(self, upper: Path, work: Path) -> None:
        assert not list(upper.iterdir())
        assert not list(work.iterdir())
        self.done += 1
        (upper / "header.h").write_text(str(self.done))


def test_a_layer_is_made_once_and_known_by_its_requirements(tmp_path: Path) -> None:
    install = Installs()
    for requirements, earlier, text in (
        (MAKE, False, "1"),
        (MAKE, True, "1"),
        (MAKE[:1], False, "2"),
        (MAKE, True, "1"),
    ):
        with layer(tmp_path, requirements, install) as (folder, kept):
            assert ((folder / "header.h").read_text(), kept) == (text, earlier)


def test_builds_that_begin_at_once_wait_for_the_first(tmp_path: Path) -> None:
    install, together = Installs(), threading.Barrier(4)
    seen: list[tuple[str, bool]] = []

    def build() -> None:
        together.wait()
        with layer(tmp_path, MAKE, install) as (folder, kept):
            seen.append(((folder / "header.h").read_text(), kept))

    threads = [threading.Thread(target=build) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(seen) == [("1", False), *[("1", True)] * 3]


def test_what_failed_or_was_killed_leaves_nothing_that_is_used(tmp_path: Path) -> None:
    def fail(upper: Path, _work: Path) -> None:
        (upper / "header.h").write_text("half")
        raise RuntimeError("no such package")

    with pytest.raises(RuntimeError, match="no such package"), layer(tmp_path, MAKE, fail):
        raise AssertionError("unreachable")
    (place,) = tmp_path.iterdir()
    assert [path.suffix for path in place.iterdir()] == [".lock"]
    half = place / f"{next(place.iterdir()).stem}.new/u"
    half.mkdir(parents=True)
    (half / "header.h").write_text("half")
    with layer(tmp_path, MAKE, Installs()) as (folder, kept):
        assert ((folder / "header.h").read_text(), kept) == ("1", False)


def test_a_layer_of_another_boot_is_made_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of it was fsynced: after a power cut its files may be empty."""
    install, boot = Installs(), tmp_path / "boot_id"
    monkeypatch.setattr(inner_layers, "_BOOT", boot)
    for identity, done in (("first", 1), ("first", 1), ("second", 2)):
        boot.write_text(identity)
        with layer(tmp_path, MAKE, install) as (folder, _kept):
            assert (folder / "header.h").read_text() == str(done)


def test_the_longest_unused_go_and_those_in_use_stay(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inner_layers, "_KEPT", 2)
    install = Installs()
    with ExitStack() as stack:
        used, _ = stack.enter_context(layer(tmp_path, ["first"], install))
        folders = []
        for name in ("second", "third", "fourth"):
            with layer(tmp_path, [name], install) as (folder, _kept):
                folders.append(folder)
        assert used.is_dir()
        assert [folder.is_dir() for folder in folders] == [False, True, True]
    with layer(tmp_path, ["fifth"], install):
        assert not used.exists()


def test_the_inner_side_of_a_build_starts_without_what_only_the_outer_side_needs() -> None:
    """Each build starts one; its imports were most of what it took."""
    look = "import sys, builder.build.inner; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-I", "-c", look], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "builder.build.inner_build" in loaded
    outer = {"requests", "builder.store", "builder.model.matrix", "builder.tools.dnf", "builder.build.chroot"}
    assert not outer & loaded
