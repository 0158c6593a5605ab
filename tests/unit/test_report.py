"""The support matrix says what is offered and why the rest is not, the same bytes for the same facts."""

from __future__ import annotations

import io
import json
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from builder.model.report import (
    SupportBranch,
    SupportFacts,
    SupportGpus,
    SupportKernel,
    SupportOutcome,
    SupportRow,
    SupportStream,
    UndrivenGpus,
)
from builder.report import print_support_matrix, support_files, support_matrix
from tests.tools.support_site import Page

OLD, NEW = "6.1.0-50-amd64", "6.1.0-51-amd64"


def row(driver: str, kernel: str, outcome: SupportOutcome = SupportOutcome.PUBLISHED, reason: str = "") -> SupportRow:
    branch = driver.split(".", 1)[0]
    return SupportRow(
        cell=f"r{branch}-open:{driver}@{kernel}",
        kernel=kernel,
        variant="generic",
        branch=branch,
        driver_version=driver,
        flavor="open",
        outcome=outcome,
        reason=reason,
        level="static" if outcome is SupportOutcome.PUBLISHED else None,
    )


def stream(name: str, *drivers: str, **more: Any) -> SupportStream:
    values: dict[str, Any] = {
        "default": False,
        "branch": name[1:4] if name.startswith("r") else None,
        "flavor": "open",
        "kmods": "precompiled",
        "summary": f"stream {name}",
    }
    return SupportStream(name=name, driver_versions=drivers, **{**values, **more})


FACTS = SupportFacts(
    module="nvidia-driver",
    distribution="el9",
    title="Enterprise <Linux> 9",
    arch="x86_64",
    branches=(
        SupportBranch(name="535", type="LTS", eol="2026-06", max_cuda="12.2", gpus=("Maxwell", "Ada")),
        SupportBranch(name="550", type="PB", eol=None, max_cuda="12.4", gpus=("Maxwell", "Ada"), note="ended"),
    ),
    kernels=tuple(SupportKernel(release=k, variant="generic", package=f"kernel-core = {k}") for k in (OLD, NEW)),
    streams=(
        stream("r535-open", "535.104.05", "535.261.03"),
        stream("r550-open", "550.163.01"),
        stream("latest", "535.261.03", default=True, held=(("550.163.01", f"no kmod for {NEW}"),)),
        stream("latest-dkms", "550.163.01", kmods="dkms"),
        stream("r570", held=(("570.1", "no pin"),)),
    ),
    rows=(
        row("535.104.05", OLD),
        row("535.104.05", NEW),
        row("535.261.03", OLD),
        row("535.261.03", NEW, SupportOutcome.EXCLUDED, "breaks suspend"),
        row("550.163.01", OLD),
        row("550.163.01", NEW, SupportOutcome.FAILED, "nvidia.ko: <bad> import"),
    ),
)


def offers(kernel: str) -> dict[str, tuple[str, str | None, str]]:
    (found,) = (k for k in support_matrix(FACTS)["kernels"] if k["release"] == kernel)
    return {name: (o["state"], o["driver"], o["reason"]) for name, o in found["streams"].items()}


def test_a_kernel_with_its_module_is_offered_the_newest_driver_of_the_stream() -> None:
    assert offers(OLD)["r535-open"] == ("published", "535.261.03", "")
    assert offers(OLD)["r550-open"] == ("published", "550.163.01", "")


def test_a_kernel_without_the_newest_driver_is_offered_an_older_one_and_told_why() -> None:
    assert offers(NEW)["r535-open"] == ("published", "535.104.05", "535.261.03 is not there: breaks suspend")


def test_a_kernel_without_any_module_says_what_happened() -> None:
    assert offers(NEW)["r550-open"] == ("failed", "550.163.01", "nvidia.ko: <bad> import")
    assert offers(NEW)["latest"] == ("excluded", "535.261.03", "breaks suspend")


def test_dkms_serves_every_kernel_and_a_held_stream_none() -> None:
    for kernel in (OLD, NEW):
        assert offers(kernel)["latest-dkms"][:2] == ("dkms", "550.163.01")
        assert offers(kernel)["r570"] == ("held", None, "no pin")


def test_a_stream_that_follows_the_newest_driver_shows_that_drivers_branch_and_lifetime() -> None:
    streams = {s["name"]: s for s in support_matrix(FACTS)["streams"]}
    assert streams["latest"]["branch"] == "535"
    assert streams["latest"]["follows_newest"]
    assert streams["latest"]["held"] == [{"driver": "550.163.01", "reason": f"no kmod for {NEW}"}]
    assert streams["r570"]["drivers"] == []


def test_files_are_the_same_bytes_whatever_the_order_of_streams_and_cells() -> None:
    turned = replace(FACTS, streams=FACTS.streams[::-1], rows=FACTS.rows[::-1])
    assert support_files(FACTS) == support_files(turned)
    assert support_files(FACTS) != support_files(replace(FACTS, title="Other"))


def test_the_json_file_is_the_document() -> None:
    files = dict(support_files(FACTS))
    assert json.loads(files["support-matrix.json"]) == support_matrix(FACTS)
    assert sorted(files) == ["support-matrix.html", "support-matrix.json"]


def test_the_page_says_every_fact() -> None:
    page = Page(dict(support_files(FACTS))["support-matrix.html"])
    facts = (OLD, NEW, "r570", "nvidia.ko: <bad> import", "breaks suspend", "Enterprise <Linux> 9", "2026-06", "12.4")
    assert [fact for fact in facts if fact not in page.text] == []
    assert "dnf module install nvidia-driver:latest" in page.text


def printed(*, terminal: bool) -> str:
    file = io.StringIO()
    console = Console(file=file, force_terminal=terminal, width=140, color_system=None, legacy_windows=False)
    print_support_matrix(console, support_matrix(FACTS))
    return file.getvalue()


def test_a_pipe_gets_one_plain_line_a_fact_with_its_subject_first() -> None:
    lines = printed(terminal=False).splitlines()
    assert f"el9/x86_64 {NEW} r550-open: failed 550.163.01: nvidia.ko: <bad> import" in lines
    assert (
        "el9/x86_64 stream latest (default): 535.261.03: open, precompiled, R535 LTS, until 2026-06, CUDA up to 12.2"
        in lines
    )
    assert all(line.startswith("el9/x86_64 ") for line in lines)


@pytest.mark.parametrize("fact", [OLD, NEW, "latest *", "550.163.01 dkms", "held back", "breaks suspend"])
def test_a_terminal_gets_tables_with(fact: str) -> None:
    assert fact in printed(terminal=True)


def test_profiles_and_the_gpus_that_a_stream_leaves_out_are_told_and_shown() -> None:
    gpus = SupportGpus(
        driver_version="580.142",
        driven=(("1e04", "NVIDIA GeForce RTX 2080 Ti"),),
        undriven=(
            UndrivenGpus(last_branch=None, devices=("13c2",), examples=("GTX <970>",)),
            UndrivenGpus(last_branch="470", devices=("1180", "1187"), examples=("GTX 680", "GTX 760")),
        ),
    )
    facts = replace(FACTS, streams=(stream("r580-open", "580.142", gpus=gpus, profiles=("default", "fm")),))
    files = dict(support_files(facts))
    (told,) = json.loads(files["support-matrix.json"])["streams"]
    assert told["profiles"] == ["default", "fm"]
    assert told["gpus"] == {
        "driven": 1,
        "not_driven": [
            {"last_branch": None, "devices": 1, "examples": ["GTX <970>"]},
            {"last_branch": "470", "devices": 2, "examples": ["GTX 680", "GTX 760"]},
        ],
    }
    page = files["support-matrix.html"].decode()
    assert "profiles default, fm" in page
    assert "1 GPU model such as GTX &lt;970&gt;: proprietary modules only" in page
    assert "2 GPU models such as GTX 680: last branch R470" in page
