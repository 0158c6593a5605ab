"""Disks that fill up while a builder works: always told as such, never as a failed build, and nothing is lost by it."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from builder.build import ChrootBuilder, MockBuilder
from builder.errors import DiskFullError
from builder.model.sources import Buildroot
from builder.store import Store
from builder.tools.run import which
from tests.lab.distro import LabDistro
from tests.tools import building
from tests.tools.test_build_killed import mounts_below
from tests.tools.test_build_mock import configuration, mock_chroot

LARGE = 2 << 30  # bytes
SOON, LATER = 256 << 10, 24 << 20  # bytes that are free: for nothing of a build's root, for a part of it
MADE = 20 << 20  # bytes of a package, or of a log
LARGE_SOURCE = 'int main(void) { return 0; }\n__asm__(".section .rodata\\n.incbin \\"data\\"");\n'
MEMORY = 2 << 30  # bytes


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A small filesystem of its own."""
    folder = tmp_path_factory.mktemp("disk")
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={LARGE}", "full", folder], check=True)
    yield folder
    subprocess.run(["umount", "-l", folder], check=True)


class Made(NamedTuple):
    """A base root on that filesystem, without a compiler, which builds install; and who builds in it."""

    name: str
    buildroot: Buildroot
    undisturbed: dict[str, str]  # digests of what is built
    on_disk: ChrootBuilder | MockBuilder
    in_memory: ChrootBuilder | MockBuilder


@pytest.fixture(scope="module", params=["chroot", "mock"])
def made(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, disk: Path, distro: LabDistro
) -> Iterator[Made]:
    if request.param == "mock" and which("mock") is None:
        pytest.skip("mock is not installed: Fedora and EPEL have it")
    with Store.open(disk / request.param) as store:
        mock = request.param == "mock"
        on_disk, in_memory = (
            MockBuilder(store, configuration, memory=size) if mock else ChrootBuilder(store, memory=size)
            for size in (0, MEMORY)
        )
        buildroot = on_disk.prepare(mock_chroot(distro, packages=building.SMALL))
        folder = tmp_path_factory.mktemp("undisturbed")
        result = building.build(in_memory, building.spec(folder), buildroot, folder / "build")
        yield Made(request.param, buildroot, building.digests(result), on_disk, in_memory)
        assert list((store.work / "tmp").iterdir()) == []
        assert mounts_below(store.work) == []


def unpacked(buildroot: Buildroot) -> int:
    """Bytes of mock's root on a filesystem with pages of 4 KiB."""
    assert buildroot.path is not None
    (cache,) = buildroot.path.rglob("root_cache/cache.tar*")
    sizes = [int(line.split()[2]) for line in subprocess.check_output(["tar", "-tvf", cache], text=True).splitlines()]
    return sum(-(-size // 4096) * 4096 for size in sizes)


@contextmanager
def room(disk: Path, free: int) -> Iterator[None]:
    """So many bytes are free on the disk."""
    used = int(subprocess.check_output(["df", "-B1", "--output=used", disk]).split()[-1])
    subprocess.run(["mount", "-o", f"remount,size={used + free}", disk], check=True)
    try:
        yield
    finally:
        subprocess.run(["mount", "-o", f"remount,size={LARGE}", disk], check=True)


def test_a_disk_that_fills_up_while_the_root_is_made_is_told_and_the_next_build_is_as_if_it_never_was(
    made: Made, disk: Path, tmp_path: Path
) -> None:
    spec = building.spec(tmp_path / "sources")
    for layers in disk.glob("chroot/store/roots/*/layers"):  # of what an earlier build required
        shutil.rmtree(layers)
    # mock unpacks all of the root first, so only a disk with more than that ends among the requirements.
    for free in (SOON, LATER) if made.name == "chroot" else (SOON, LATER, unpacked(made.buildroot) + LATER):
        with room(disk, free), pytest.raises(DiskFullError, match="no space left on device") as caught:
            building.build(made.on_disk, spec, made.buildroot, tmp_path / str(free))
        assert list((disk / made.name / "tmp").iterdir()) == []
        assert list(disk.glob("*/store/roots/*/layers/*.new")) == []
        assert not list((tmp_path / str(free) / "result").glob("*.rpm"))
    assert "more space needed on the / filesystem" in str(caught.value.details)  # rpm's word, before it installs
    again = building.build(made.on_disk, spec, made.buildroot, tmp_path / "again")
    assert building.digests(again) == made.undisturbed


@pytest.mark.parametrize(
    "lines",
    [
        pytest.param("", id="the package"),
        pytest.param(f"head -c {MADE} /dev/zero | tr '\\0' '\\n'", id="the log"),
    ],
)
def test_a_disk_with_no_place_for_what_was_built_in_memory_is_told_as_such(
    made: Made, disk: Path, tmp_path: Path, lines: str
) -> None:
    data = f"head -c {MADE} /dev/urandom > data"
    spec = building.spec(tmp_path / "sources", before=data, after=lines, source=LARGE_SOURCE)
    # With mock a package is copied twice: from the memory by mock, from its folder by us.
    for free in (MADE // 2, *([MADE * 3 // 2] if made.name == "mock" and not lines else [])):
        place = disk / "result"
        request = building.request_for(spec, made.buildroot, place)
        try:
            with room(disk, free), pytest.raises(DiskFullError, match="no space left on device"):
                made.in_memory.build(request)
            assert not list(request.resultdir.glob("*.rpm"))
        finally:
            shutil.rmtree(place)
