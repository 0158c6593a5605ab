"""`repobuild gc` on a real work folder: what nothing needs goes, a killed one harms nothing, nothing is built again."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
from pathlib import Path

import pytest
import yaml

from builder.pack import read_modules
from builder.store import LOCK_FILE, Store
from builder.store.store import KINDS
from tests.conftest import OPEN_STREAMS, Job
from tests.lab.distro import LabDistro
from tests.lab.matrix import write_lab_matrix
from tests.lab.runfile import LabDriver

SEEDS = (1, 2)
NOWHERE = "0" * 64  # digest of an RPM that no lock names
FEWEST = 12  # things that go at least
NOW = ("--keep-days", "0")


@pytest.fixture(scope="module")
def aged(
    tmp_path_factory: pytest.TempPathFactory, whole: Job, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> Job:
    """A work folder whose matrix lost its older driver two publications ago; no file is shared with other folders."""
    folder = tmp_path_factory.mktemp("gc")
    job = whole.copy(folder / "job")
    for kind in ("sources", *KINDS):
        if kind != "roots":  # large, and never removed here
            linked = job.work / "store" / kind
            subprocess.run(["cp", "-a", linked, job.work / "own"], check=True)
            shutil.rmtree(linked)
            (job.work / "own").rename(linked)
    streams = [one for one in OPEN_STREAMS if one["branch"] != "535"]
    shutil.rmtree(job.config.parent / "streams")
    write_lab_matrix(job.config.parent, lab, light[1:], streams, kernels=generic[:1], flavors=["open"])
    job.run("matrix")
    file = job.config.parent / "streams/r550-open.yaml"
    file.write_text(yaml.safe_dump({**yaml.safe_load(file.read_text()), "description": "Other words."}))
    job.run("matrix")
    assert len(generations(job)) == 3
    (job.work / "logs/gone").mkdir()
    (job.work / "logs/gone/build.log").write_text("of a cell that no matrix has")
    (job.work / "store/partial/0123").mkdir(parents=True)
    (job.work / "store/partial/0123/data").write_bytes(b"half")
    for sha256 in (locked(job), NOWHERE):
        folder = job.work / "store/sources" / sha256
        folder.mkdir()
        (folder / "bash.rpm").write_bytes(b"an RPM of a root")
    return job


def locked(job: Job) -> str:
    """Digest of the first RPM in the buildroot lock of the newer driver's modules."""
    lock, *_ = (f / LOCK_FILE for f in (job.work / "store/modules").iterdir() if "/550." in read_modules(f).unit_id)
    return str(json.loads(lock.read_text())["buildroot"]["rpms"][0]["sha256"])


def generations(job: Job) -> set[str]:
    return {path.name for path in job.repo.glob(".generations/[!.]*")}


def copy(job: Job, folder: Path) -> Job:
    """All of it, hard links as they are."""
    roots = job.work / "store/roots"
    aside = roots.rename(job.config.parent.parent / "roots")
    subprocess.run(["cp", "-a", job.config.parent, folder], check=True)
    aside.rename(roots)
    subprocess.run(["cp", "-al", roots, folder / "work/store"], check=True)
    return Job(config=folder / job.config.name, work=folder / "work", repo=folder / "repo", keys=job.keys)


def names(job: Job) -> set[str]:
    """Every file of the store and the publications, and every generation."""
    return {
        str(path.relative_to(job.config.parent)) for top in (job.work / "store", job.repo) for path in top.rglob("*")
    }


def size(job: Job) -> int:
    """Bytes of store, logs and generations, each inode once."""
    tops = (job.work / "store", job.work / "logs", job.repo / ".generations", job.repo / ".pool")
    files = [p.lstat() for top in tops for p in top.rglob("*") if p.is_file() and not p.is_symlink()]
    return sum({(f.st_dev, f.st_ino): f.st_size for f in files}.values())


def works(job: Job) -> None:
    """The present matrix is published as before, and nothing of it is built again."""
    before = job.digest()
    document = job.json("matrix")
    assert {unit["reason"] for unit in document["units"]} == {"reused"}
    assert job.digest() == before
    job.verify()


def test_a_dry_run_says_all_and_changes_nothing_and_the_removal_frees_what_was_said(aged: Job, tmp_path: Path) -> None:
    job = copy(aged, tmp_path / "job")
    before, bytes_before = names(job), size(job)
    said = job.json("gc", "--dry-run", *NOW)
    assert names(job) == before
    items = {(i["kind"], i["name"]): i for i in said["items"]}
    going = {identity for identity, item in items.items() if not item["stays"]}
    assert len(going) > FEWEST
    assert {("logs", "gone"), ("partial", "0123"), ("sources", NOWHERE)} <= going
    assert items["sources", locked(job)]["reason"].startswith(
        "in the buildroot lock of lab9/x86_64/kmod-nvidia/550.163.01/"
    )
    assert {kind for kind, _ in going} == {
        "generations", "sources", "prepared", "modules", "results", "signed", "logs", "partial",
    }  # fmt: skip
    assert all("535.261.03" not in i["about"] for i in said["items"] if i["kind"] == "results" and i["stays"])
    current = items["generations", job.digest()]
    assert (current["stays"], current["reason"]) == (True, "current")
    reasons = {i["reason"] for i in said["items"] if i["kind"] == "generations"}
    assert reasons == {"current", "made before the current one, to roll back to", "used today, nothing refers to it"}
    done = job.json("gc", *NOW)
    assert {(i["kind"], i["name"]) for i in done["items"] if not i["stays"]} == going
    assert done["freed_bytes"] == said["freed_bytes"] > 0
    assert bytes_before - size(job) == done["freed_bytes"] - (job.work / "store/serials.json").stat().st_size
    left = job.json("gc", *NOW)
    assert (left["freed_bytes"], {i["stays"] for i in left["items"]}) == (0, {True})
    (former,) = generations(job) - {job.digest()}
    works(job)
    job.run("rollback", "lab9", former[:12], "--gnupghome", str(job.keys))
    assert job.digest() == former
    job.verify()


def test_a_table_for_people_names_what_goes_and_the_sums(aged: Job) -> None:
    lines = aged.run("gc", "--dry-run", *NOW).stdout.splitlines()
    assert any(
        line.startswith("results ") and "/535.261.03" in line and "nothing refers to it" in line for line in lines
    )
    assert "generations: 2 stay, 1 go" in "\n".join(lines)
    assert "would be freed" in lines[-1]
    lines = aged.run("gc", "--dry-run").stdout.splitlines()
    assert lines[-1].startswith("0 bytes of ")  # all of it was used today
    assert "no size" in aged.run("gc", "--max-size", "many", code=2).stderr
    assert aged.json("gc", "--dry-run", "--max-size", "1K")["freed_bytes"] > 0


def test_what_is_removed_comes_back_under_a_higher_release(
    aged: Job, tmp_path: Path, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    job = copy(aged, tmp_path / "job")
    job.run("gc", *NOW)
    write_lab_matrix(job.config.parent, lab, light, OPEN_STREAMS, kernels=generic[:1], flavors=["open"])
    job.run("fetch", "--select", "nvidia-driver:535*")
    document = job.json("build", "--select", "nvidia-driver:535*")
    ((unit, built),) = [(u["id"], u) for u in document["units"] if u["reason"] == "built"]
    assert unit == "nvidia-driver:535.261.03@lab9.x86_64"
    assert all(":535.261.03-2." in name for name in built["rpms"]), built["rpms"]


def test_while_a_run_works_nothing_is_removed(aged: Job, tmp_path: Path) -> None:
    job = copy(aged, tmp_path / "job")
    before = names(job)
    with Store.open(job.work):
        assert "another repobuild" in job.run("gc", *NOW, code=61).stderr
        assert job.json("gc", "--dry-run", *NOW)["freed_bytes"] > 0
    assert names(job) == before


@pytest.mark.parametrize("seed", SEEDS)
def test_killed_after_a_random_number_of_removals_it_leaves_a_store_that_works(
    aged: Job, tmp_path: Path, seed: int
) -> None:
    job = copy(aged, tmp_path / "job")
    number = random.Random(seed).randrange(1, FEWEST)
    child = os.fork()
    if child == 0:  # the real thing, but for the moment of its death
        _die_at_removal(number)
        from builder.cli import main  # noqa: PLC0415  in the child alone

        main(job.argv("gc", *NOW)[1:])
        os._exit(0)
    _, status = os.waitpid(child, 0)
    assert os.WIFSIGNALED(status)
    assert os.WTERMSIG(status) == signal.SIGKILL
    works(job)
    document = job.json("gc", *NOW)
    assert any(not item["stays"] for item in document["items"])  # what it did not come to
    assert list((job.work / "tmp").iterdir()) == []


def _die_at_removal(number: int) -> None:
    rename, count = Path.rename, iter(range(1, 10_000))

    def dying(self: Path, target: Path) -> Path:
        if ("/work/tmp/" in str(target) or ".tmp-" in str(target)) and next(count) == number:
            os.kill(os.getpid(), signal.SIGKILL)
        return rename(self, target)

    Path.rename = dying  # type: ignore[assignment, method-assign]
