"""A real kernel and another compiler than the one that built it: refused before anything is built, not by conftest."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from tests.conftest import Job, make_job
from tests.lab.distro import LabDistro, make_distro
from tests.lab.matrix import stream
from tests.lab.runfile import LabDriver

STREAMS = (stream("r535-open", "535", "open"), stream("latest", "newest-complete", "open", default=True))


def with_compiler(job: Job, name: str, *, text: bool) -> str:
    """Write another compiler into matrix.yaml's only kernel, with or without its version_text; returns that text."""
    matrix = yaml.safe_load(job.config.read_text())
    (kernel,) = matrix["kernels"]
    truth = kernel["compiler"]["version_text"]
    kernel["compiler"] = {"package": name, "command": name, **({"version_text": truth} if text else {})}
    job.config.write_text(yaml.safe_dump(matrix, sort_keys=False))
    return str(truth)


def check(job: Job, wrong: str) -> None:
    truth = with_compiler(job, wrong, text=True)
    told = job.run("lint", code=3).stderr
    assert f"kernels[0].compiler.command: '{wrong}' is not what version_text says: '{truth}'" in " ".join(told.split())

    with_compiler(job, wrong, text=False)
    job.run("lint")
    job.run("fetch")
    done = job.run("matrix", code=70)
    assert f"was built by '{truth}', but matrix.yaml says command {wrong}" in " ".join(done.stderr.split())
    (cell,) = job.json("plan")["cells"]
    assert cell["decision"] == "blocked"
    assert cell["reason"].startswith("compiler mismatch: ")
    assert truth in cell["reason"]
    assert "repobuild kernels" in cell["hint"]
    assert f"{cell['id']}: build" not in done.stderr
    assert ": build started" in done.stderr  # of the packages around it


def test_a_kernel_of_another_compiler_than_matrix_yaml_names_is_refused_before_any_build(
    tmp_path: Path, lab: LabDistro, light: list[LabDriver], keys: Path, generic: list[str]
) -> None:
    check(make_job(tmp_path, lab, light[:1], keys, streams=STREAMS, kernels=generic[:1], flavors=["open"]), "gcc-14")


@pytest.mark.qualify
def test_a_later_release_s_kernel_is_not_built_with_this_release_s_compiler(
    tmp_path: Path, lab: LabDistro, light: list[LabDriver], keys: Path
) -> None:
    later = make_distro(series=("6.12/trixie",))
    kernel = later.kernels[-1]
    assert kernel.compiler_command == "gcc-14"
    job = make_job(tmp_path, later, light[:1], keys, streams=STREAMS, kernels=[kernel.release], flavors=["open"])
    check(job, "gcc-12")
