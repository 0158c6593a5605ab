"""What a run leaves at the top of a repository for people: support matrix, times, logs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import jsonschema

from builder.report import support_schemas
from tests.conftest import Job
from tests.lab.client import BASE_URL
from tests.tools.browser import opened, picture, running_browser, serving


def site(job: Job) -> Any:
    document = json.loads((job.repo / "support-matrix.json").read_text())
    jsonschema.validate(document, support_schemas()["support-site"])
    return document


def test_a_run_says_of_each_module_when_it_was_built_and_how_long_after_its_kernel(whole: Job) -> None:
    document = site(whole)
    assert document["place"] == BASE_URL
    (publication,) = document["publications"]
    assert publication["digest"] == whole.digest()
    own = json.loads((whole.published / "support-matrix.json").read_text())
    jsonschema.validate(own, support_schemas()["support-matrix"])
    release = "lab9/x86_64/nvidia-driver-release.rpm"
    assert own["begin"] == [
        "rpm --import REPOSITORY/RPM-GPG-KEY-repobuild",
        f"dnf --setopt=localpkg_gpgcheck=1 install REPOSITORY/{release}",
    ]
    assert (whole.repo / release).is_file()
    assert [c["id"] for c in own["cells"]] == [c["id"] for c in publication["cells"]]
    for cell in publication["cells"]:
        assert cell["outcome"] == "published"
        assert cell["package"].startswith("kmod-nvidia-")
        assert cell["built"] <= cell["available"]
        assert cell["hours"] > 0  # since the lab's kernel was built, as its RPM's header says
        assert "logs are not published here" in cell["no_log"]
    assert document["freshness"]["known"] == document["freshness"]["kernels"] == 1


def test_its_page_is_opened_and_names_the_command(whole: Job, generic: list[str]) -> None:
    with running_browser() as browser, serving(whole.repo) as address:
        kernel = f"lab9%2Fx86_64%2F{generic[0]}"
        for name, place in (("repository", ""), ("publication", "/lab9/x86_64")):
            with opened(browser, f"{address}{place}/support-matrix.html#gpu=turing&on={kernel}") as found:
                assert found.page.inner_text("#answer .command code") == "dnf module install nvidia-driver:latest"
                begin = found.page.locator("#answer .command code").nth(1).inner_text()
                assert begin.startswith(f"rpm --import {'REPOSITORY' if place else BASE_URL}/RPM-GPG-KEY-repobuild\n")
                assert found.page.locator("#grid td.p").count() == 2
                picture(found.page, f"lab-{name}", whole=True)
                found.requests = [url for url in found.requests if not url.endswith("/favicon.ico")]


def test_logs_are_published_when_asked_for_and_a_rollback_shows_what_is_current(whole: Job, tmp_path: Path) -> None:
    job = whole.copy(tmp_path)
    before = site(job)
    job.run("publish", "--publish-logs")
    (publication,) = site(job)["publications"]
    for cell, former in zip(publication["cells"], before["publications"][0]["cells"], strict=True):
        text = (job.repo / cell["log"]).read_text()
        assert "nvidia.ko" in text  # compiled
        assert cell["package"].rsplit(".", 1)[0].split("-")[0] in text  # packed
        assert (cell["built"], cell["available"]) == (former["built"], former["available"])
    page = (job.repo / "support-matrix.html").read_text()
    assert all(f"href={cell['log']}" in page for cell in publication["cells"])

    other = job.repo / ".generations" / ("f" * 64)
    shutil.copytree(job.published.resolve(), other)
    job.run("rollback", "lab9", "ffff")
    (publication,) = site(job)["publications"]
    assert publication["digest"] == "f" * 64
    assert all(cell["log"] for cell in publication["cells"])
