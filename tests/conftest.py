"""Fixtures of the end-to-end tests: the lab, and the production program run on it as its users run it."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from builder.store.store import KINDS
from tests.lab.client import BASE_URL
from tests.lab.distro import LabDistro, make_distro
from tests.lab.light import make_light
from tests.lab.matrix import stream, write_lab_matrix
from tests.lab.runfile import LabDriver
from tests.memory import in_memory, remove, roomy, session_folder
from tests.need import need, need_root
from tests.once import KEPT, made_once
from tests.tools.listed import listed_rpms

PROGRAM = Path(sys.executable).parent / "repobuild"
# Files that take longest, most first: begun last they would be waited for by processors with nothing left to do.
LONGEST = (
    "e2e/test_journey_mirrored.py",
    "tools/test_dkms_host.py",
    "e2e/test_bad_input.py",
    "e2e/test_signed_levels.py",
    "e2e/test_real_cell.py",
    "tools/test_qualify_boot.py",
    "e2e/test_kill.py",
    "e2e/test_branch_packages.py",
    "e2e/test_main_job.py",
    "tools/test_join_client.py",
    "e2e/test_journey.py",
    "e2e/test_open_source.py",
    "e2e/test_dask.py",
    "tools/test_conftest_cache.py",
    "e2e/test_chaos.py",
    "e2e/test_gc.py",
)
QUICK = ("golden", "unit")
OPEN_STREAMS = (
    stream("r535-open", "535", "open"),
    stream("r550-open", "550", "open"),
    stream("latest", "newest-complete", "open", default=True),
)
STREAMS = (
    stream("r535", "535", "proprietary"),
    stream("r535-open", "535", "open"),
    stream("r550-open", "550", "open"),
    stream("latest", "newest-complete", "open", default=True),
    stream("latest-dkms", "newest-complete", "open", kmods="dkms"),
)


MOST = 10  # GiB that three testers' folders hold at once, and some more


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Folders of tests lie in memory where there is enough of it and nobody said where they shall be."""
    if config.option.basetemp is None and not hasattr(config, "workerinput"):
        config.option.basetemp = session_folder(MOST)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Memory is given back; of a run that failed stays what its tests left, until the next run."""
    folder = session.config.option.basetemp
    if isinstance(folder, Path) and in_memory(folder) and not hasattr(session.config, "workerinput"):
        remove(folder / KEPT if session.testsfailed else folder)


@pytest.fixture(scope="module", autouse=True)
def tidy(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What the tests of a module left in memory goes with it; of one with a failure it stays while there is room."""
    before = request.session.testsfailed
    yield
    top = tmp_path_factory.getbasetemp()
    if in_memory(top) and (request.session.testsfailed == before or not roomy(MOST // 2)):
        for folder in top.iterdir():
            if folder.name != KEPT:
                remove(folder)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Whole files, those that take longest first; within a file as written."""
    top = Path(__file__).parent
    files = [item.path.relative_to(top) for item in items if item.path.is_relative_to(top)]
    longest = {Path(name): place for place, name in enumerate(LONGEST)}
    ranks = {top / f: (longest.get(f, len(LONGEST)), f.parts[0] in QUICK, str(f)) for f in set(files)}
    items.sort(key=lambda item: ranks.get(item.path, (-1, 0, "")))


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A configuration with its work folder, repository and key: what a release engineer has."""

    config: Path
    work: Path
    repo: Path
    keys: Path

    def argv(self, verb: str, *more: str) -> list[str]:
        words = [str(PROGRAM), verb, "--config", str(self.config)]
        if verb != "lint":
            words += ["--work", str(self.work), "--repo", str(self.repo)]
        if verb in ("matrix", "sign", "publish"):
            words += ["--gnupghome", str(self.keys), "--base-url", BASE_URL]
        return [*words, *more]

    def run(self, verb: str, *more: str, code: int = 0) -> subprocess.CompletedProcess[str]:
        """Run a verb; its exit code must be ``code``."""
        done = subprocess.run(self.argv(verb, *more), capture_output=True, text=True, timeout=1200, check=False)
        assert done.returncode == code, f"exit code {done.returncode}, expected {code}\n{done.stderr[-4000:]}"
        return done

    def json(self, verb: str, *more: str, code: int = 0) -> Any:
        """As ``run`` with --json: the document on stdout."""
        return json.loads(self.run(verb, "--json", *more, code=code).stdout)

    @property
    def published(self) -> Path:
        return self.repo / "lab9/x86_64"

    def digest(self) -> str:
        """Name of the current generation."""
        return self.published.readlink().name

    def verify(self) -> None:
        """The current publication is whole as a client sees it."""
        key = str(self.repo / "RPM-GPG-KEY-repobuild")
        argv = [str(PROGRAM), "verify", str(self.published), "--key", key]
        done = subprocess.run(argv, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    def packages(self) -> set[str]:
        """File names of the RPMs in the current generation."""
        return {path.name for path in listed_rpms(self.published)}

    def give(self, work: Path, kinds: Collection[str]) -> None:
        """Link its store's folders of these kinds into a new work folder: nothing in them is ever written to again."""
        (work / "store").mkdir(parents=True)
        for kind in kinds:
            subprocess.run(["cp", "-al", self.work / "store" / kind, work / "store"], check=True)

    def copy(self, folder: Path, *, kinds: Collection[str] = KINDS, done: bool = True) -> Job:
        """This job in another folder, its store's folders of these kinds linked; with ``done`` what it did, too."""
        shutil.copytree(self.config.parent, folder, dirs_exist_ok=True, ignore=shutil.ignore_patterns("work", "repo"))
        copy = replace(self, config=folder / self.config.name, work=folder / "work", repo=folder / "repo")
        self.give(copy.work, ("sources", *kinds))
        if done:
            shutil.copyfile(self.work / "ledger.sqlite", copy.work / "ledger.sqlite")
            shutil.copytree(self.repo, copy.repo, symlinks=True)
        return copy


@pytest.fixture(scope="session")
def lab() -> LabDistro:
    need_root()
    need("dnf", "rpmbuild", "rpmsign", "createrepo_c", "gpg", "unshare", "makeself", "apt-get")
    if os.environ.get("REPOBUILD_BUILDER") == "mock":  # for the programs that tests start, too
        need("mock")
    return make_distro()


@pytest.fixture(scope="session")
def generic(lab: LabDistro) -> list[str]:
    """``uname -r`` of the lab's two generic kernels, older first."""
    return [k.release for k in lab.kernels if k.variant == "generic"]


@pytest.fixture(scope="session")
def light(lab: LabDistro) -> list[LabDriver]:
    return make_light(["535.261.03", "550.163.01"])


@pytest.fixture(scope="session")
def keys(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A throw-away signing key."""

    def make(folder: Path) -> None:
        subprocess.run([PROGRAM, "key", "new", "--gnupghome", folder / "home", "--name", "throw-away"], check=True)

    return made_once(tmp_path_factory, "keys", make) / "home"


@pytest.fixture(scope="session")
def whole(
    tmp_path_factory: pytest.TempPathFactory, lab: LabDistro, light: list[LabDriver], keys: Path, generic: list[str]
) -> Job:
    """A small job done in one undisturbed run, to be looked at and copied: the older kernel, two open drivers."""

    def make(folder: Path) -> None:
        make_job(folder, lab, light, keys, streams=OPEN_STREAMS, kernels=generic[:1], flavors=["open"]).run("matrix")

    return job_in(made_once(tmp_path_factory, "whole", make), keys)


def make_job(
    folder: Path,
    lab: LabDistro,
    drivers: Sequence[LabDriver],
    keys: Path,
    *,
    streams: Sequence[dict[str, Any]] = STREAMS,
    pin: bool = True,
    like: Job | None = None,
    kinds: Collection[str] = KINDS,
    **narrow: Any,
) -> Job:
    """A lab matrix in ``folder``, its sources pinned; what the store of ``like`` has of these kinds is there."""
    write_lab_matrix(folder, lab, drivers, streams, **narrow)
    job = job_in(folder, keys)
    if like is not None:
        like.give(job.work, kinds)
    if pin:
        job.run("pin")
    return job


def job_in(folder: Path, keys: Path) -> Job:
    """The job whose matrix stands in this folder."""
    return Job(config=folder / "matrix.yaml", work=folder / "work", repo=folder / "repo", keys=keys)
