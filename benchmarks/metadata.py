"""Repository metadata: builder's write_metadata against the createrepo_c program."""

from __future__ import annotations

import os
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides
from benchmarks.rpms import EPOCH, make_small_rpms
from builder.model.cells import Artifact
from builder.tools.createrepo import read_primary, write_metadata
from builder.tools.run import run

COUNT = 300
_CREATEREPO = ("createrepo_c", "--quiet", "--no-database", "--checksum=sha256", "--general-compress-type=gz")


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    artifacts = make_small_rpms(tmp, COUNT)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        hrefs = _link(artifacts, folder)
        with clock.timed():
            write_metadata(folder, hrefs, b"", epoch=EPOCH)
        return _packages(folder)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        _link(artifacts, folder)
        with clock.timed():
            run([*_CREATEREPO, f"--revision={EPOCH}", folder], timeout=600)
        return _packages(folder)

    return Sides(ours=ours, peer=peer)


def _link(artifacts: list[Artifact], folder: Path) -> list[str]:
    for artifact in artifacts:
        os.link(artifact.path, folder / artifact.path.name)
    return [artifact.path.name for artifact in artifacts]


def _packages(folder: Path) -> list[str]:
    """NEVRA and sha256 of every package that primary.xml lists."""
    found = list((folder / "repodata").glob("*-primary.xml.gz"))
    if len(found) != 1:
        raise BenchmarkError(f"{folder.name}: {len(found)} primary.xml.gz")
    return [f"{package.nevra} {package.sha256}" for package in read_primary(found[0])]


METADATA = Benchmark(
    name="metadata",
    work=f"repository metadata of {COUNT} small RPMs, gz and sha256",
    peer="createrepo_c",
    note="The program's start and its own worker threads are timed with it; repobuild calls the same project's "
    "library in its running process, on one thread, and writes an (empty) module document more.",
    prepare=_prepare,
)
