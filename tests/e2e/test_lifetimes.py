"""A publication's advisories, events and lifetimes, from a matrix to what hosts see; pruned releases stay used."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from builder.tools.createrepo import read_repomd
from tests.conftest import Job
from tests.tools.listed import listed_rpms

ENDED, RUNNING = "2020-01-31", "2199-12-31"
CVES = ["CVE-2025-23277", "CVE-2025-23278"]


def edit(job: Job, change: Callable[[dict[str, Any]], object]) -> None:
    """Change matrix.yaml as its author would."""
    document = yaml.safe_load(job.config.read_text())
    change(document)
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))


def updateinfo(job: Job) -> str:
    (record,) = (r for r in read_repomd(job.published / "repodata/repomd.xml") if r.type == "updateinfo")
    return gzip.decompress((job.published / record.href).read_bytes()).decode()


def files(job: Job) -> dict[Path, int]:
    """Every file of the publications and the store with its time, but for what is remembered of such files, and for
    locks of roots: these are the same files in every job they are linked into, and others build meanwhile.
    """
    found = (path for top in (job.repo, job.work / "store") for path in top.rglob("*"))
    found = (path for path in found if path.stem != "derived" and path.suffix != ".lock")
    return {path: path.lstat().st_mtime_ns for path in found if path.is_symlink() or path.is_file()}


def test_a_run_writes_advisories_one_event_a_feed_and_what_leaves_when(whole: Job, generic: list[str]) -> None:
    document = updateinfo(whole)
    names = {f"NVIDIA-lab9-{name}" for name in ("535.261.03", "550.163.01", f"kernel-{generic[0]}")}
    assert {line.strip() for line in document.splitlines() if "<id>" in line} == {f"<id>{name}</id>" for name in names}
    assert 'stream="r535-open"' in document
    assert f"kmod-nvidia-{generic[0]}" in document
    assert "nvidia-kmod-common" in document
    whole.verify()
    (event,) = json.loads((whole.repo / "events.json").read_text())["events"]
    assert event["digest"] == whole.digest()
    assert set(event["advisories"]) == names
    assert b"<feed" in (whole.repo / "feed.atom").read_bytes()
    support = json.loads((whole.published / "support-matrix.json").read_text())
    assert [row["what"] for row in support["leaving"]] == ["branch R535"]
    assert support["leaving"][0]["leaves"] == "2026-07-01"
    said = json.loads((whole.repo / "announcements.json").read_text())["announcements"]
    assert said["lab9/x86_64"]["branch R535"]["leaves"] == "2026-07-01"


def test_facts_of_the_matrix_reach_the_advisory_and_a_dry_run_of_publish_writes_nothing(
    whole: Job, tmp_path: Path
) -> None:
    job = whole.copy(tmp_path / "job")
    tell = {"issued": "2025-07-24", "severity": "Important", "cves": CVES, "references": ["https://example.com/5670"]}
    edit(job, lambda m: m["branches"]["550"]["drivers"][0].update(advisory=tell))
    edit(job, lambda m: m["kernels"].clear())  # a dry run says what hosts would lose
    before = files(job)
    lines = job.run("publish", "--dry-run").stdout.splitlines()
    assert lines[0].startswith(f"lab9/x86_64: {job.digest()[:12]} -> ")
    assert lines[1].startswith("  ")
    assert "host" in lines[1]
    assert files(job) == before
    job.config.write_text(whole.config.read_text())
    edit(job, lambda m: m["branches"]["550"]["drivers"][0].update(advisory=tell))
    (said,) = job.json("publish", "--dry-run")["distributions"]
    assert said["packages"] == {"added": [], "removed": [], "rewritten": []}
    assert (said["hosts"], said["advisories"], said["notes"]) == ([], [], [])
    job.run("publish")
    document = updateinfo(job)
    assert all(f'id="{cve}" type="cve"' in document for cve in CVES)
    assert '<issued date="2025-07-24 00:00:00"/>' in document
    assert "<severity>Important</severity>" in document
    assert job.digest() != whole.digest()
    job.verify()


def test_what_is_at_its_end_and_was_announced_leaves_and_comes_back_under_a_higher_release(
    whole: Job, tmp_path: Path, generic: list[str]
) -> None:
    job = whole.copy(tmp_path / "job")

    def end(matrix: dict[str, Any]) -> None:
        matrix["branches"]["535"]["eol"] = "2020"
        matrix["branches"]["550"]["eol"] = "2020"  # what `latest` gives hosts
        matrix["kernels"][0]["eol"] = ENDED  # the only one
        matrix["retention"] = {"notice_days": 0}

    edit(job, end)
    retired = job.config.parent / "matrix.retired.yaml"
    told = {row["name"]: (row["goes"], row["reason"]) for row in job.json("prune", "--dry-run")["departures"]}
    assert told["535"] == (False, "not announced yet on lab9/x86_64: publish once more, which says it")
    first = job.digest()
    job.run("publish")  # says it
    assert "branch R535 leaves on 2021-01-01" in job.run("report").stdout
    told = {row["name"]: (row["goes"], row["reason"]) for row in job.json("prune", "--dry-run")["departures"]}
    assert told["535"][0]
    assert "announced since" in told["535"][1]
    assert told["550"] == (False, "a stream that follows the newest driver carries it on lab9/x86_64")
    assert told[generic[0]][1].startswith("one of the 3 newest generic kernels of lab9")
    assert not retired.exists()
    assert "goes  branch R535" in job.run("prune").stdout
    assert yaml.safe_load(retired.read_text())["retired"][0]["name"] == "535"
    assert "nothing leaves" in job.run("prune").stderr
    assert "hosts on r535-open: the stream is gone" in job.run("publish", "--dry-run").stdout
    job.run("publish")
    assert not any("535.261.03" in path.name for path in listed_rpms(job.published))
    job.verify()
    assert job.digest() != first
    # Its results go with the last publication of it, the ledger is lost: the number stays used.
    stream = job.config.parent / "streams/r550-open.yaml"
    stream.write_text(yaml.safe_dump({**yaml.safe_load(stream.read_text()), "description": "Other words."}))
    job.run("publish")
    job.run("gc", "--keep-days", "0")
    (job.work / "ledger.sqlite").unlink()
    retired.unlink()
    job.run("fetch", "--select", "nvidia-driver:535*")
    units = job.json("build", "--select", "nvidia-driver:535*")["units"]
    (built,) = (u for u in units if u["id"] == "nvidia-driver:535.261.03@lab9.x86_64")
    assert all(":535.261.03-2." in name for name in built["rpms"]), built["rpms"]


def test_what_leaves_in_its_lifetime_is_refused_where_the_matrix_says_so(whole: Job, tmp_path: Path) -> None:
    job = whole.copy(tmp_path / "job")

    def run_on(matrix: dict[str, Any]) -> None:
        matrix["branches"]["535"]["eol"] = RUNNING[:4]
        matrix["retention"] = {"early": "refuse"}

    edit(job, run_on)
    job.run("publish")
    before = job.digest()
    edit(job, lambda m: m["exclude"].append({"cells": "r535-open@*", "reason": "somebody's mistake"}))
    refused = job.run("publish", code=50)
    assert "1 combinations would leave in their lifetime" in refused.stderr
    assert job.digest() == before
    (said,) = job.json("publish", "--dry-run")["distributions"]
    assert any(note.startswith("refused: kernel") for note in said["notes"])
    edit(job, lambda m: m["retention"].update(early="warn"))
    assert "would leave in their lifetime" in job.run("publish").stderr
    assert job.digest() != before
