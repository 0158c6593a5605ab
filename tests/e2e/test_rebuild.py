"""A cell built a second time and compared (in a root of its lock, and signed: test_signed_levels.py)."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import yaml

from builder.pack import read_modules, unpack_modules, write_modules
from builder.tools.rpms import file_sha256
from builder.tools.zstd import pack_files
from tests.conftest import Job

DRIVER = "550.163.01"


def cell_of(job: Job) -> str:
    """The cell of the later driver: there is one kernel."""
    (kernel,) = yaml.safe_load(job.config.read_text())["kernels"]
    return f"r550-open@{kernel['release']}"


def test_a_second_build_that_differs_names_module_and_section(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path)
    cell = cell_of(job)
    plant(job, "nvidia-drm", b"nvidia-drm: stand-in", b"nvidia-drm: STAND-IN")
    error = job.json("verify", "--rebuild", cell, code=51)["error"]
    assert error["message"] == f"{cell}: the second build differs from the first"
    digests, section = error["details"]
    assert re.fullmatch(r"nvidia-drm\.ko: \w{64} before, \w{64} now", digests)
    assert re.match(r"nvidia-drm\.ko: section \.rodata\S* differs from offset 0x", section)


def test_a_cell_that_would_be_built_of_something_else_now_is_told_what(tmp_path: Path, whole: Job) -> None:
    job = whole.copy(tmp_path)
    cell = cell_of(job)
    document = yaml.safe_load(job.config.read_text())
    document["vendor"] = "somebody else"
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))
    error = job.json("verify", "--rebuild", cell, code=4)["error"]
    assert error["message"].startswith(f"{cell}: was not built from the present sources and buildroot")
    assert any(line.strip().endswith("somebody else") for line in error["details"])
    assert "--hermetic makes the root that the newest build had" in error["hint"]


def plant(job: Job, name: str, old: bytes, new: bytes) -> None:
    """Alter one kept module, so that everything else that is kept of this compilation agrees with it."""
    (folder,) = (f for f in (job.work / "store/modules").iterdir() if f"/{DRIVER}/" in read_modules(f).unit_id)
    own = job.work / "own"
    shutil.copytree(folder, own)  # the folder's files are linked to those of the first job
    shutil.rmtree(folder)
    own.rename(folder)
    built = read_modules(folder)
    (module,) = [m for m in built.modules if m.name == name]
    (image,) = unpack_modules([module.path], None, job.work)
    assert image.count(old) == 1
    plain = job.work / "altered"
    plain.write_bytes(image.replace(old, new))
    pack_files([(plain, module.path)], None)
    altered = replace(module, sha256=file_sha256(plain))
    write_modules(replace(built, modules=tuple(altered if m is module else m for m in built.modules)), folder)
