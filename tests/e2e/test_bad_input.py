"""Bad input: a clear message, the documented exit code, other cells unharmed, the last publication untouched."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Job, make_job
from tests.lab.distro import LabDistro
from tests.lab.light import make_light
from tests.lab.matrix import stream
from tests.lab.runfile import LabDriver

STREAMS = (
    stream("r535-open", "535", "open"),
    stream("r550-open", "550", "open"),
    stream("latest", "newest-complete", "open", default=True),
)


@pytest.fixture
def job(tmp_path: Path, lab: LabDistro, light: list[LabDriver], keys: Path, generic: list[str]) -> Job:
    """Two light drivers in files of its own, so that a test may damage them; one kernel, nothing built yet."""
    return make_job(tmp_path, lab, _own(light, tmp_path), keys, streams=STREAMS, kernels=generic[1:], flavors=["open"])


def _own(drivers: list[LabDriver], folder: Path) -> list[LabDriver]:
    copies = []
    for driver in drivers:
        path = folder / driver.run.name
        shutil.copyfile(driver.run, path)
        copies.append(
            LabDriver(
                branch=driver.branch, version=driver.version, run=path, flavors=driver.flavors, origin=driver.origin
            )
        )
    return copies


def _run_of(job: Job, version: str) -> Path:
    return job.config.parent / f"NVIDIA-Linux-x86_64-{version}.run"


def _edit(job: Job, change: Any) -> None:
    document = yaml.safe_load(job.config.read_text())
    change(document)
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))


def test_all_mistakes_are_told_at_once_with_file_and_line(job: Job) -> None:
    def break_it(document: Any) -> None:
        document["colour"] = "red"
        document["epoch"] = "three"
        document["distributions"]["lab9"]["delivery"] = "modulr"
        document["kernels"][0]["distribution"] = "lab8"
        document["branches"]["535"]["drivers"][0]["sources"] = []
        document["branches"]["550"]["eol"] = "June"

    _edit(job, break_it)
    done = job.run("lint", "--json", code=3)
    details = json.loads(done.stdout)["error"]["details"]
    for word in ("colour", "three", "modulr", "lab8", "no source", "June"):
        (line,) = [d for d in details if word in d and d.startswith(str(job.config))][:1]
        assert line.removeprefix(f"{job.config}:").partition(":")[0].isdigit()
    assert any("did you mean" in d and "modular" in d for d in details)


def test_a_source_without_pin_is_blocked_with_the_command_that_pins_it(job: Job) -> None:
    (job.config.parent / "matrix.lock.yaml").unlink()
    rows = job.json("plan")["cells"]
    assert {r["decision"] for r in rows} == {"blocked"}
    assert "repobuild pin" in rows[0]["hint"]
    assert "no pin" in job.run("matrix", code=70).stderr
    assert not job.published.exists()


def test_changed_bytes_stop_their_driver_only(job: Job) -> None:
    shutil.rmtree(job.work)  # the store holds the pinned bytes, and then a changed file does not matter
    with _run_of(job, "550.163.01").open("ab") as file:
        file.write(b"more")
    done = job.run("matrix", code=70)
    assert "sha256" in done.stderr
    streams = {s["stream"]: s["drivers"] for s in job.json("matrix", code=70)["distributions"][0]["streams"]}
    assert streams == {"r535-open": ["535.261.03"], "r550-open": [], "latest": ["535.261.03"]}
    job.verify()


def test_what_is_no_driver_stops_its_driver_only_and_nothing_published_is_lost(job: Job) -> None:
    job.run("matrix", "--select", "r535-open@*")
    before = job.digest()
    _run_of(job, "550.163.01").write_text("<html>log in first</html>\n")
    (job.config.parent / "matrix.lock.yaml").unlink()
    job.run("pin")
    done = job.run("matrix", code=70)
    assert "not a driver archive" in done.stderr
    assert job.digest() != before or "unchanged" in done.stderr
    job.verify()
    streams = {s["stream"]: s["drivers"] for s in job.json("matrix", code=70)["distributions"][0]["streams"]}
    assert streams["r535-open"] == ["535.261.03"]
    assert streams["r550-open"] == []


def test_a_truncated_archive_is_told_as_such(job: Job) -> None:
    path = _run_of(job, "550.163.01")
    path.write_bytes(path.read_bytes()[:-5000])
    (job.config.parent / "matrix.lock.yaml").unlink()
    job.run("pin")
    assert "does not unpack" in job.run("fetch", code=70).stderr


def test_a_driver_that_does_not_compile_is_held_with_the_compilers_words(
    tmp_path: Path, lab: LabDistro, keys: Path, generic: list[str]
) -> None:
    drivers = make_light(["535.261.03", "550.163.01"], broken={"550.163.01": "defined(CONFIG_SMP)"})
    job = make_job(tmp_path, lab, drivers, keys, streams=STREAMS, kernels=generic[1:], flavors=["open"])
    document = job.json("matrix", code=70)
    (broken,) = [u for u in document["units"] if u["kind"] == "kmod-nvidia" and not u["ok"]]
    assert broken["code"] == "build"
    story = job.json("why", broken["id"])
    assert any("no support for such a kernel" in line for line in story["failed"])
    assert Path(story["log"]).is_file()
    streams = {s["stream"]: s["drivers"] for s in document["distributions"][0]["streams"]}
    assert streams["latest"] == ["535.261.03"]
    job.verify()


def test_a_missing_compiler_fails_its_kernel_with_dnfs_words(job: Job, generic: list[str]) -> None:
    def other_compiler(document: Any) -> None:
        document["kernels"][0]["compiler"] = {"package": "gcc-99", "command": "gcc-99"}

    _edit(job, other_compiler)
    done = job.run("matrix", "--select", f"r535-open@{generic[1]}", code=70)
    assert "gcc-99" in done.stderr


def test_a_second_repobuild_on_the_same_work_folder_is_refused(job: Job) -> None:
    first = subprocess.Popen(job.argv("matrix"), stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True)
    assert first.stderr is not None
    while "started" not in first.stderr.readline():
        assert first.poll() is None
    try:
        assert "another repobuild" in job.run("matrix", code=61).stderr
    finally:
        first.kill()
        first.communicate()


def test_no_key_is_told_before_anything_is_built(job: Job) -> None:
    argv = [w for w in job.argv("matrix") if w not in ("--gnupghome", str(job.keys))]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 40
    assert "repobuild key new" in done.stderr
    assert "build started" not in done.stderr


def test_a_selection_that_matches_nothing_suggests_what_is_near(job: Job, generic: list[str]) -> None:
    done = job.run("matrix", "--select", f"r535-opne@{generic[1]}", code=4)
    assert f"r535-open@{generic[1]}" in done.stderr


def test_a_full_disk_loses_nothing_and_the_next_run_goes_on(job: Job) -> None:
    job.work.mkdir(exist_ok=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=40m", "full", job.work], check=True)
    try:
        done = job.run("matrix", code=23)
        assert "no space left" in done.stderr.lower()
        subprocess.run(["mount", "-o", "remount,size=4g", job.work], check=True)
        job.run("matrix")
        job.verify()
    finally:
        subprocess.run(["umount", "-l", job.work], check=True)
