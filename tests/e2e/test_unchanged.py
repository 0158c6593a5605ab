"""A publication that is composed of what it was composed of before stands; whatever is another is composed anew."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.conftest import Job

Document = dict[str, Any]


@pytest.fixture(scope="module")
def job(whole: Job, tmp_path_factory: pytest.TempPathFactory) -> Job:
    return whole.copy(tmp_path_factory.mktemp("unchanged") / "job")


def publish(job: Job, *more: str) -> tuple[Document, bool]:
    """What a run says of the publication, and whether it was composed."""
    events = job.work / "events.jsonl"
    events.unlink(missing_ok=True)
    (told,) = job.json("publish", "--events", str(events), *more)["distributions"]
    lines = [json.loads(line) for line in events.read_text().splitlines()]
    return told["publication"], ("publish", "started") in {(line["stage"], line["state"]) for line in lines}


def let_stand(job: Job) -> None:
    """Publish until there is nothing to compose: what may have changed, what finds it equal, and one that need not."""
    assert not all(publish(job)[1] for _ in range(3))


def edit(job: Job, change: Callable[[Document], object]) -> None:
    document = yaml.safe_load(job.config.read_text())
    change(document)
    job.config.write_text(yaml.safe_dump(document, sort_keys=False))


def test_what_was_found_equal_once_is_not_composed_again(job: Job) -> None:
    first, composed = publish(job)
    assert composed
    assert first["changed"] is False
    again, composed = publish(job)
    assert not composed
    assert again == first
    whole_run = job.json("matrix")["distributions"][0]["publication"]
    assert whole_run == first
    job.verify()


CHANGES: dict[str, Callable[[Document], object]] = {
    "a branch's end": lambda m: m["branches"]["550"].update(eol="2031-01"),
    "an advisory": lambda m: m["branches"]["550"]["drivers"][0].update(advisory={"severity": "Important"}),
    "the vendor": lambda m: m.update(vendor="Another vendor"),
}


@pytest.mark.parametrize("what", CHANGES)
def test_whatever_a_publication_tells_is_told_at_once(job: Job, what: str) -> None:
    let_stand(job)
    before = job.digest()
    edit(job, CHANGES[what])
    told, composed = publish(job)
    assert composed
    assert (told["changed"], job.digest() != before) == (True, True)
    again, composed = publish(job)  # only now it is known that composing it gives the same
    assert composed
    assert (again["changed"], again["digest"]) == (False, told["digest"])


def test_what_hosts_need_first_is_written_again_and_the_manifest_renewed(job: Job) -> None:
    let_stand(job)
    (job.repo / "lab9.repo").unlink()
    (job.repo / "RPM-GPG-KEY-repobuild").unlink()
    number = json.loads((job.published / "publication-manifest.json").read_text())["sequence"]
    told, composed = publish(job, "--least-sequence", str(number + 5))
    assert not composed
    assert told["changed"] is False
    assert json.loads((job.published / "publication-manifest.json").read_text())["sequence"] == number + 5
    assert "gpgcheck=1" in (job.repo / "lab9.repo").read_text()
    job.verify()


def test_another_generation_than_the_newest_is_left_and_one_that_is_lost_is_made_again(job: Job) -> None:
    let_stand(job)
    newest = job.digest()
    job.run("rollback", "lab9", "--gnupghome", str(job.keys))
    assert job.digest() != newest
    told, composed = publish(job)
    assert composed
    assert (told["digest"], job.digest()) == (newest, newest)
    lost = Path(job.published).resolve()
    lost.rename(job.work / "lost")
    assert publish(job)[1]  # without the former gates that only the lost one had: it may be another
    job.verify()
