"""`repobuild why` names the input that changed; what renders the same bytes builds nothing."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

import builder
from tests.conftest import PROGRAM, Job

TREE = Path(builder.__file__).parents[1]
PATCH = """\
--- a/README
+++ b/README
@@ -0,0 +1 @@
+A patch of a test.
"""


@pytest.fixture
def job(tmp_path: Path, whole: Job) -> Job:
    return whole.copy(tmp_path / "job")


def decisions(job: Job, program: Path | None = None) -> dict[str, str]:
    """By unit; of another copy of the program when one is given."""
    if program is None:
        document = job.json("plan")
    else:
        argv = [sys.executable, "-c", "from builder.cli import main; main()", *job.argv("plan", "--json")[1:]]
        done = subprocess.run(argv, cwd=program, capture_output=True, text=True, timeout=300, check=True)
        document = json.loads(done.stdout)
    return {unit["id"]: unit["decision"] for unit in (*document["cells"], *document["packages"])}


def test_comments_that_leave_the_rendered_bytes_alone_build_nothing(job: Job, tmp_path: Path) -> None:
    before = decisions(job)
    assert set(before.values()) == {"reuse"}
    job.config.write_text(job.config.read_text().replace("\n", "  # a remark\n", 1) + "# another\n")
    assert decisions(job) == before
    program = tmp_path / "program"
    for name in ("builder", "specs", "mock-configs"):
        shutil.copytree(TREE / name, program / name, ignore=shutil.ignore_patterns("__pycache__"))
    for template in (program / "specs").glob("*.j2"):
        template.write_text("{# a remark #}" + template.read_text())
    assert decisions(job, program) == before
    kmods = program / "specs/kmod-nvidia.spec.j2"
    kmods.write_text(kmods.read_text().replace("%description\n", "%description\nOther words.\n", 1))
    after = decisions(job, program)
    assert {unit for unit in after if after[unit] == "build"} == {unit for unit in after if unit.startswith("r5")}


def test_a_patch_that_was_added_is_named(job: Job, generic: list[str]) -> None:
    cell = f"r550-open@{generic[0]}"
    told = job.json("why", cell)
    assert told["decision"] == "reuse"
    assert "changed" not in told
    (job.config.parent / "remark.patch").write_text(PATCH)
    matrix = yaml.safe_load(job.config.read_text())
    matrix["branches"]["550"]["patches"] = [{"file": "remark.patch", "reason": "to be seen"}]
    job.config.write_text(yaml.safe_dump(matrix, sort_keys=False))
    told = job.json("why", cell)
    assert told["decision"] == "build"
    assert told["compared"].startswith("with the build of 2")
    assert "patch remark.patch added: sha256 " in told["changed"][0]
    assert any(line.startswith("  +Patch") for line in told["changed"])
    assert not any("Release:" in line for line in told["changed"])
    assert "remark.patch added" in job.run("why", cell).stdout
    assert job.json("why", f"r535-open@{generic[0]}")["decision"] == "reuse"


def test_another_signer_is_named_and_nothing_else(job: Job, tmp_path: Path, generic: list[str]) -> None:
    certificate = tmp_path / "modules.pem"
    subprocess.run([PROGRAM, "key", "new-module", "--cert", certificate, "--name", "of a test"], check=True)
    told = job.json("why", f"r550-open@{generic[0]}", "--module-cert", str(certificate))
    names = [line for line in told["changed"] if not line.startswith("  ")]
    assert any(line.startswith("signer of the modules: unsigned → ") for line in names)
    assert all(line.startswith(("signer of the modules", "spec kmod-nvidia")) for line in names), names


def test_a_gate_s_kernels_and_a_cell_that_was_never_built_are_explained(job: Job, generic: list[str]) -> None:
    gate = job.json("why", "nvidia-kmod-common-open:550.163.01@lab9.x86_64")
    assert gate["decision"] == "reuse"
    assert gate["kernels"] == [f"{generic[0]}: kmod-nvidia-{generic[0]}-3:550.163.01-1.open.lab9.x86_64"]
    of_kmod = [
        p.parent for p in (job.work / "store/results").glob("*/result.json") if "kmod-nvidia/550" in p.read_text()
    ]
    assert len(of_kmod) == 1
    shutil.rmtree(of_kmod[0])
    cell: dict[str, Any] = job.json("why", f"r550-open@{generic[0]}")
    assert "changed" not in cell
    assert cell["nearest"][0].startswith(
        f"lab9/x86_64/kmod-nvidia/535.261.03/open/precompiled/{generic[0]}, release 1: "
    )
    assert any(line.startswith("source ") and "550.163.01" in line for line in cell["nearest"])
    gate = job.json("why", "nvidia-kmod-common-open:550.163.01@lab9.x86_64", code=4)
    assert gate["error"]["code"] == "selection"
