"""Build requirements that builds share: installed once over a base root, kept beside it; used inside the namespaces.

layers/<key>/u       what installing changed, a lower layer of overlays; never written to again
layers/<key>/packages.txt  the packages of base and layer together, written by the first build that lists them
layers/<key>/boot    since when the machine was up: nothing is fsynced, so nothing is believed after a start
layers/<key>.lock    held by builds that use it, alone by the one that makes or removes it
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

_LAYERS = "layers"
_KEPT = 12  # beside those in use; a kernel's development files are some 100 MB
_BOOT = Path("/proc/sys/kernel/random/boot_id")


@contextmanager
def layer(base: Path, requirements: Sequence[str], make: Callable[[Path, Path], None]) -> Iterator[tuple[Path, bool]]:
    """The layer of these requirements over the base root in ``base``, and whether an earlier build had made it.

    ``make`` fills an upper folder, given its work folder, and has nothing mounted when it returns; what it raises goes
    on. While the context lasts nobody removes the layer.
    """
    place = base / _LAYERS
    place.mkdir(exist_ok=True)
    key = hashlib.sha256("\n".join(requirements).encode()).hexdigest()
    with (place / f"{key}.lock").open("w") as lock:  # written to: the time says when it was last used
        fcntl.flock(lock, fcntl.LOCK_SH)
        earlier = True
        while not _of_this_boot(place / key):
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not _of_this_boot(place / key):
                _make(place / key, make)
                _remove_oldest(place)
                earlier = False
            fcntl.flock(lock, fcntl.LOCK_SH)  # for a moment nobody holds it, so it is looked at again
        os.utime(lock.fileno())
        yield place / key / "u", earlier


def _of_this_boot(folder: Path) -> bool:
    try:
        return (folder / "boot").read_text() == _BOOT.read_text()
    except FileNotFoundError:
        return False


def _make(folder: Path, make: Callable[[Path, Path], None]) -> None:
    new = folder.with_suffix(".new")
    for rest in (new, folder):  # of a build that was killed, of an earlier boot
        shutil.rmtree(rest, ignore_errors=True)
    for name in ("u", "w"):
        (new / name).mkdir(parents=True)
    try:
        make(new / "u", new / "w")
        (new / "boot").write_text(_BOOT.read_text())
        new.rename(folder)
    except BaseException:
        shutil.rmtree(new, ignore_errors=True)
        raise


def _remove_oldest(place: Path) -> None:
    """Layers that are kept too many, longest unused first; those in use stay."""
    used = sorted((path for path in place.glob("*.lock")), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in used[_KEPT:]:
        with path.open("a") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            shutil.rmtree(path.with_suffix(""), ignore_errors=True)
