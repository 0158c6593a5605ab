"""Ten thousand packages and cells: what an incremental publication, a plan and a run with nothing to do cost.

repobuild's side works in a process of its own (``benchmarks.scale_work``), which tells its time and peak memory.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from builder.tools.createrepo import read_primary, read_repomd
from builder.tools.run import run
from tests.tools.many_rpms import EPOCH, make_many, make_template

PACKAGES, NEW = 10_000, 100
CELLS = (100, 50)  # kernels, branches of two flavors each
FINISHED = (40, 25)
_CREATEREPO = ("createrepo_c", "--quiet", "--no-database", "--checksum=sha256", "--general-compress-type=gz")
_MB = 1_000_000


def work(name: str, clock: Clock, *words: str | Path) -> list[str]:
    """Do a part of ``benchmarks.scale_work`` in a process of its own; returns what it says it made."""
    argv = [sys.executable, "-m", "benchmarks.scale_work", name, *words]
    said = json.loads(run(argv, timeout=1800, cwd=Path(__file__).parents[1]).stdout)
    clock.add(said["seconds"], said["cpu"], said["peak"])
    return [str(member) for member in said["made"]]


def _site(tmp: Path) -> tuple[Path, Path, list[Path]]:
    """A publication without the new packages, what was kept when it was made, and a peer's folder; and all packages."""
    rpms = make_many(make_template(tmp / "template"), tmp / "rpms", range(PACKAGES))
    base, peer = tmp / "base", tmp / "peer"
    work("publish", Clock(), tmp / "rpms", base, str(PACKAGES - NEW))
    folder = peer / "Packages/b"
    folder.mkdir(parents=True)
    for rpm in rpms[: PACKAGES - NEW]:
        os.link(rpm, folder / rpm.name)
    run([*_CREATEREPO, f"--revision={EPOCH}", peer], timeout=600)
    return base, peer, rpms


def _copy(source: Path, target: Path) -> Path:
    """A folder of links; metadata, the database and what else is written to, as copies."""

    def link(one: str, other: str) -> None:
        if one.endswith(".rpm"):
            os.link(one, other)
        else:
            shutil.copy2(one, other)

    shutil.copytree(source, target, symlinks=True, copy_function=link)
    return target


def _prepare_publish(tmp: Path, _stack: ExitStack) -> Sides:
    base, peer_base, rpms = _site(tmp)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        site = _copy(base, folder / "site")
        work("publish", clock, tmp / "rpms", site, str(PACKAGES))
        return _packages(site / "repo/lab9/x86_64")

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        site = _copy(peer_base, folder / "site")
        for rpm in rpms[PACKAGES - NEW :]:
            os.link(rpm, site / "Packages/b" / rpm.name)
        modules = folder / "modules.yaml"
        shutil.copyfile(base / "modules.yaml", modules)
        with clock.timed():
            _update(site, modules)
        return _packages(site)

    return Sides(ours=ours, peer=peer)


def _prepare_metadata(tmp: Path, _stack: ExitStack) -> Sides:
    base, peer_base, rpms = _site(tmp)

    def filled(source: Path, folder: Path) -> Path:
        site = _copy(source, folder / "site")
        for rpm in rpms[PACKAGES - NEW :]:
            os.link(rpm, site / "Packages/b" / rpm.name)
        return site

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        site = filled(peer_base, folder)
        shutil.rmtree(site / "repodata")
        shutil.copyfile(base / "derived.sqlite", folder / "derived.sqlite")
        work("metadata", clock, tmp / "rpms", site, folder / "derived.sqlite", base / "modules.yaml")
        return _packages(site)

    def peer(folder: Path, clock: Clock) -> Collection[str]:
        site = filled(peer_base, folder)
        shutil.copyfile(base / "modules.yaml", folder / "modules.yaml")
        with clock.timed():
            _update(site, folder / "modules.yaml")
        return _packages(site)

    return Sides(ours=ours, peer=peer)


def _update(site: Path, modules: Path) -> None:
    run([*_CREATEREPO, "--update", f"--revision={EPOCH}", site], timeout=600)
    run(["modifyrepo_c", "--mdtype=modules", "--compress-type=gz", modules, site / "repodata"], timeout=60)


def _packages(folder: Path) -> list[str]:
    """What repomd.xml names; a generation keeps former ones' metadata beside it."""
    (href,) = (record.href for record in read_repomd(folder / "repodata/repomd.xml") if record.type == "primary")
    return [f"{package.nevra} {package.sha256}" for package in read_primary(folder / href)]


def _prepare_makecache(tmp: Path, _stack: ExitStack) -> Sides:
    base, peer, rpms = _site(tmp)
    work("publish", Clock(), tmp / "rpms", base, str(PACKAGES))
    for rpm in rpms[PACKAGES - NEW :]:
        os.link(rpm, peer / "Packages/b" / rpm.name)
    run([*_CREATEREPO, f"--revision={EPOCH}", peer], timeout=600)
    run(
        ["modifyrepo_c", "--mdtype=modules", "--compress-type=gz", base / "modules.yaml", peer / "repodata"], timeout=60
    )
    places = {"ours": base / "repo/lab9/x86_64", "peer": peer}
    return Sides(ours=partial(_makecache, places["ours"]), peer=partial(_makecache, places["peer"]))


def _makecache(repo: Path, folder: Path, clock: Clock) -> Collection[str]:
    """A client without anything downloads the metadata and reads them."""
    (folder / "root").mkdir()
    (folder / "repos").mkdir()
    options = [f"--installroot={folder / 'root'}", f"--repofrompath=bench,{repo.as_uri()}", "--repo=bench"]
    options += [f"--setopt={name}" for name in (f"cachedir={folder / 'cache'}", f"reposdir={folder / 'repos'}")]
    options += ["--setopt=module_platform_id=platform:lab9", "--releasever=9", "--nogpgcheck", "--quiet"]
    with clock.timed():
        run(["dnf", *options, "makecache"], timeout=300)
    caches = list((folder / "cache").glob("*.solv"))
    if not caches:
        raise BenchmarkError(f"dnf made no cache of {repo}")
    return _packages(repo)


def _prepare_plan(tmp: Path, _stack: ExitStack) -> Sides:
    work("plan", Clock(), tmp / "work", *map(str, CELLS))
    return Sides(ours=lambda _folder, clock: work("plan", clock, tmp / "work", *map(str, CELLS)), peer=None)


def _prepare_reuse(tmp: Path, _stack: ExitStack) -> Sides:
    rpm = make_many(make_template(tmp / "template"), tmp / "rpms", [1])[0]
    sizes: Sequence[int] = FINISHED
    work("finish", Clock(), tmp / "work", *map(str, sizes), rpm)
    return Sides(ours=lambda _folder, clock: work("reuse", clock, tmp / "work", *map(str, sizes)), peer=None)


PUBLISH = Benchmark(
    name="publish-update",
    work=f"{NEW} new packages into {PACKAGES:,}: a new generation, all but signing and the gate",
    peer="createrepo_c --update, modifyrepo_c",
    note="repobuild checks the content and every package, makes a generation beside the former one, writes metadata, "
    "module documents and record, and moves the pointer; the programs change the folder that clients read. Neither "
    "side signs, and repobuild's look with a client's eyes before the switch has no part in it.",
    prepare=_prepare_publish,
    target=Target(seconds=1.5, ratio=1 / 3, peak=300 * _MB),
)
METADATA_UPDATE = Benchmark(
    name="metadata-update",
    work=f"the metadata alone of {PACKAGES:,} packages of which {NEW} are new",
    peer="createrepo_c --update, modifyrepo_c",
    note="The same work on both sides: a folder that holds the packages gets its metadata and module documents.",
    prepare=_prepare_metadata,
    target=Target(seconds=1.5, ratio=1 / 3, peak=300 * _MB),
)
MAKECACHE = Benchmark(
    name="makecache",
    work=f"dnf makecache of {PACKAGES:,} packages",
    peer="dnf makecache of createrepo_c's",
    note="A client with an empty cache and no other repository. 5 % are granted to chance.",
    prepare=_prepare_makecache,
    runs_at_least=24,
    target=Target(ratio=1.05),
)
PLAN = Benchmark(
    name="plan-10000",
    work="10,000 cells and the packages around them expanded and decided, planned before",
    peer="none",
    note="Everything is known and nothing built; the interpreter's start and reading matrix.yaml are not timed. The "
    "first plan of a cell renders it, which takes about a millisecond a cell.",
    prepare=_prepare_plan,
    target=Target(seconds=1, peak=300 * _MB),
)
REUSE = Benchmark(
    name="reuse-2000",
    work="2,000 finished cells and the packages around them planned, and every result and verdict taken from the store",
    peer="none",
    note="A part of repeat-2000, which takes long to prepare: without matrix.yaml, publication and start.",
    prepare=_prepare_reuse,
    target=Target(peak=500 * _MB),
)
