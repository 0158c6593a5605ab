"""Bad input: a clear message, the documented exit code, other cells unharmed, the last publication untouched."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.tools.rpms import read_header
from tests.conftest import OPEN_STREAMS, Job
from tests.lab.distro import LabDistro
from tests.lab.light import make_light
from tests.lab.matrix import write_lab_matrix
from tests.lab.runfile import LabDriver
from tests.tools.listed import listed_rpms

NEW = "535.274.02"  # a driver that joins a branch which is published already
PUBLISHED = {"r535-open": ["535.261.03"], "r550-open": ["550.163.01"], "latest": ["535.261.03", "550.163.01"]}
TEN = Path(__file__).parent.parent / "assets/config/ten-mistakes"


@pytest.fixture
def job(tmp_path: Path, whole: Job) -> Iterator[Job]:
    """A job with a publication; whatever a test does, it stays whole and no driver goes out of it."""
    copy = whole.copy(tmp_path)
    yield copy
    assert _but_gates(whole.packages()) <= copy.packages()
    copy.verify()


def _but_gates(names: Iterable[str]) -> set[str]:
    """Gates are released again when there is another kernel to speak of."""
    return {name for name in names if not name.startswith("nvidia-kmod-common-")}


@pytest.fixture
def new(tmp_path: Path, lab: LabDistro) -> LabDriver:
    """A new driver in a file that a test may damage."""
    (driver,) = make_light([NEW])
    return replace(driver, run=Path(shutil.copyfile(driver.run, tmp_path / driver.run.name)))


@pytest.fixture
def untouched(job: Job) -> Iterator[Job]:
    """The job, whose very publication must still be the current one in the end."""
    before = job.digest()
    yield job
    assert job.digest() == before


def _widen(job: Job, lab: LabDistro, drivers: Sequence[LabDriver], kernels: Sequence[str]) -> None:
    """Write the job's matrix again with more in it, and pin what is new."""
    write_lab_matrix(job.config.parent, lab, drivers, OPEN_STREAMS, kernels=kernels, flavors=["open"])
    job.run("pin")


def _forget(job: Job, driver: LabDriver) -> None:
    """Take a driver's bytes out of the store, as on a machine that has not fetched them yet."""
    for path in (job.work / "store/sources").glob(f"*/{driver.run.name}"):
        path.unlink()


def _edit(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))


def _streams(document: Mapping[str, Any]) -> dict[str, list[str]]:
    (distribution,) = document["distributions"]
    return {s["stream"]: s["drivers"] for s in distribution["streams"]}


def _units(document: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {u["id"]: u for u in document["units"]}


def test_ten_mistakes_are_told_at_once_with_file_and_line(tmp_path: Path) -> None:
    config = shutil.copytree(TEN, tmp_path / "config")
    planted = {
        f"{path}:{number}"
        for path in (config / "matrix.yaml", *config.glob("streams/*.yaml"))
        for number, line in enumerate(path.read_text().splitlines(), start=1)
        if re.search(r"# \d+$", line)
    }
    assert len(planted) == 10
    job = Job(config=config / "matrix.yaml", work=tmp_path / "work", repo=tmp_path / "repo", keys=tmp_path / "keys")
    for verb in ("lint", "matrix"):
        error = job.json(verb, code=3)["error"]
        assert (error["code"], error["exit_code"]) == ("config", 3)
        assert {":".join(line.split(":")[:2]) for line in error["details"]} == planted
    assert not job.work.exists()


def test_an_unknown_key_is_told_with_what_is_near_and_nothing_is_done(untouched: Job) -> None:
    _edit(untouched.config, "delivery: modular", "delivry: modular")
    done = untouched.run("matrix", code=3)
    line = next(n for n, text in enumerate(untouched.config.read_text().splitlines(), start=1) if "delivry" in text)
    assert f"{untouched.config}:{line}: " in done.stderr
    assert "did you mean 'delivery'?" in done.stderr


def test_a_source_without_pin_is_blocked_with_the_command_that_pins_it(untouched: Job) -> None:
    (untouched.config.parent / "matrix.lock.yaml").unlink()
    rows = untouched.json("plan")["cells"]
    assert {r["decision"] for r in rows} == {"blocked"}
    assert {r["hint"] for r in rows} == {"repobuild pin --select 'r535*'", "repobuild pin --select 'r550*'"}
    done = untouched.run("matrix", code=70)
    assert "no pin in matrix.lock.yaml" in done.stderr
    assert "2 kept an earlier build" in done.stderr
    assert "next: repobuild pin" in done.stderr


def test_changed_bytes_stop_their_driver_only(
    job: Job, new: LabDriver, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    _widen(job, lab, [*light, new], generic)
    _forget(job, new)
    with new.run.open("ab") as file:
        file.write(b"more")
    document = job.json("matrix", code=70)
    units = _units(document)
    assert re.search(
        r"not the pinned bytes: sha256 \w{12}…, pinned \w{12}…", units[f"r535-open@{generic[0]}"]["reason"]
    )
    assert {units[f"{c}@{generic[1]}"]["reason"] for c in ("r535-open:535.261.03", "r550-open")} == {"built"}
    assert _streams(document) == PUBLISHED


def test_a_file_that_is_no_driver_stops_its_driver_only(
    job: Job, new: LabDriver, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    new.run.write_text("<html>log in first</html>\n")
    _widen(job, lab, [*light, new], generic[:1])
    document = job.json("matrix", code=70)
    assert "not a driver archive" in _units(document)[f"r535-open@{generic[0]}"]["reason"]
    assert _streams(document) == PUBLISHED


def test_a_truncated_archive_stops_its_driver_only(
    job: Job, new: LabDriver, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    new.run.write_bytes(new.run.read_bytes()[:-5000])
    _widen(job, lab, [*light, new], generic[:1])
    document = job.json("matrix", code=70)
    assert "does not unpack" in _units(document)[f"r535-open@{generic[0]}"]["reason"]
    assert _streams(document) == PUBLISHED
    assert "does not unpack" in job.run("fetch", code=70).stderr


def test_the_archive_of_another_version_stops_its_driver_only(
    job: Job, new: LabDriver, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    shutil.copyfile(light[0].run, new.run)
    _widen(job, lab, [*light, new], generic[:1])
    document = job.json("matrix", code=70)
    reason = _units(document)[f"r535-open@{generic[0]}"]["reason"]
    assert light[0].version in reason
    assert NEW in reason
    assert _streams(document) == PUBLISHED


def test_a_driver_that_does_not_compile_is_held_with_the_compilers_words(
    job: Job, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    broken = make_light([NEW], broken={NEW: "defined(CONFIG_SMP)"})
    _widen(job, lab, [*light, *broken], generic[:1])
    document = job.json("matrix", code=70)
    cell = _units(document)[f"r535-open@{generic[0]}"]
    assert (cell["ok"], cell["code"]) == (False, "build")
    assert _streams(document) == PUBLISHED
    story = job.json("why", cell["id"])
    assert any('#error "no support for such a kernel in this stand-in"' in line for line in story["failed"])
    assert '#error "no support' in Path(story["log"]).read_text()
    (failure,) = job.json("status")["failures"]
    assert failure["log"] == story["log"]


def test_a_missing_compiler_fails_its_kernel_and_the_gates_keep_that_kernel_out(
    job: Job, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    _widen(job, lab, light, generic)
    document = yaml.safe_load(job.config.read_text())
    supported, other = document["kernels"]
    other["compiler"] = {"package": "gcc-from-elsewhere", "command": "gcc-12"}  # of the right generation, but not there
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))
    outcome = job.json("matrix", code=70)
    units = _units(outcome)
    for branch in ("r535-open", "r550-open"):
        assert units[f"{branch}@{generic[0]}"]["reason"] == "reused"
        assert units[f"{branch}@{generic[1]}"]["code"] == "build-dependency"
    story = job.json("why", f"r535-open@{generic[1]}")
    assert any("gcc-from-elsewhere" in line for line in story["failed"])
    # latest carries what is complete only; with no such driver left it is not in the publication
    assert _streams(outcome) == {**PUBLISHED, "latest": []}
    gates = [read_header(p) for p in listed_rpms(job.published, "nvidia-kmod-common-")]
    assert len(gates) == 2
    for gate in gates:
        assert any(f"kernel-core > {supported['core']['evr']}" in c for c in gate.conflicts), gate.conflicts
    difference = job.json("diff", "lab9")
    assert difference["new"] == job.digest()
    assert difference["hosts"][1].startswith("hosts on latest: the stream is gone")
    assert difference["kernels"] == {"added": [generic[1]], "removed": []}


def test_a_second_repobuild_on_the_same_work_folder_is_refused(untouched: Job, generic: list[str]) -> None:
    shutil.rmtree(untouched.work / "store/roots")  # so that the first is busy for some seconds
    with subprocess.Popen(untouched.argv("matrix"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL) as first:
        assert first.stderr is not None
        while b"buildroot started" not in first.stderr.readline():
            assert first.poll() is None
        try:
            error = untouched.json("matrix", code=61)["error"]
            assert f"process {first.pid}" in error["message"]
            looked = untouched.json("why", f"r535-open@{generic[0]}")  # looking is not working
            assert looked["id"] == f"r535-open@{generic[0]}"
        finally:
            first.kill()


def test_no_key_is_told_before_anything_is_built(untouched: Job) -> None:
    shutil.rmtree(untouched.work / "store/results")
    argv = [w for w in untouched.argv("matrix") if w not in ("--gnupghome", str(untouched.keys))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 40
    assert "repobuild key new" in done.stderr
    assert "started" not in done.stderr


def test_a_selection_that_matches_nothing_suggests_what_is_near(untouched: Job, generic: list[str]) -> None:
    done = untouched.run("matrix", "--select", f"r535-opne@{generic[0]}", code=4)
    assert f"r535-open@{generic[0]}" in done.stderr


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(
    job: Job, lab: LabDistro, light: list[LabDriver], generic: list[str]
) -> None:
    """The first run finds no place for a base root, the second none for what it builds, the third has enough."""
    disk = job.config.parent / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "full", disk], check=True)
    try:
        full = replace(job, work=disk / "work", repo=disk / "repo")
        subprocess.run(["cp", "-a", job.repo, full.repo], check=True)
        before = full.digest()
        full.run("pin")
        done = full.run("matrix", code=23)
        assert re.search(r"this run needs \d\.\d GiB: nothing was started", done.stderr)
        assert ": buildroot started" not in done.stderr
        assert _no_space(full.json("matrix", "--min-free", "0", code=23))
        subprocess.run(["rm", "-rf", full.work], check=True)
        _fit(disk, job.work, spare=100 << 10)
        subprocess.run(["cp", "-a", job.work, disk], check=True)
        _widen(full, lab, light, generic)
        assert _no_space(full.json("matrix", "--min-free", "0", code=23))
        assert full.digest() == before
        full.verify()
        subprocess.run(["mount", "-o", "remount,size=2g", disk], check=True)
        units = _units(full.json("matrix", "--min-free", "1"))
        assert units[f"r535-open@{generic[0]}"]["reason"] == "reused"
        full.verify()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def test_a_disk_that_is_full_when_publishing_is_told_as_such(job: Job, whole: Job, tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "full", disk], check=True)
    try:
        full = replace(job, repo=disk / "repo")
        assert _no_space(full.json("matrix", code=23))
        assert not full.published.exists()
        subprocess.run(["mount", "-o", "remount,size=100m", disk], check=True)
        full.run("matrix")
        full.verify()
        assert full.packages() == whole.packages()
    finally:
        subprocess.run(["umount", "-l", disk], check=True)


def _no_space(document: Mapping[str, Any]) -> bool:
    return document["error"]["code"] == "disk-full" and "no space left" in document["error"]["message"].lower()


def _fit(disk: Path, *more: Path, spare: int) -> None:
    """Make the disk as large as what is on it and what is to come, and a little (bytes)."""
    used = sum(int(subprocess.check_output(["du", "-s", "-B1", path]).split()[0]) for path in (disk, *more))
    subprocess.run(["mount", "-o", f"remount,size={used + spare}", disk], check=True)
