"""A repository's support matrix: every current publication, times that stay, freshness; held to its schema."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from builder.model.report import SupportFacts
from builder.pipeline.settings import Settings
from builder.pipeline.site import NOT_HERE, NOT_PUBLISHED, SiteFacts, write_site
from builder.report import (
    CellTimes,
    CurrentPublication,
    read_times,
    site_document,
    support_matrix,
    update_times,
    write_times,
)
from builder.report.support_schema import support_schemas
from tests.tools.support_site import production_site
from tests.unit.test_report import FACTS, NEW, OLD

BUILT = datetime(2026, 3, 1, 6, tzinfo=UTC).timestamp()
MADE = datetime(2026, 3, 2, tzinfo=UTC).timestamp()
WHERE = "el9/x86_64"
CELL = "r535-open:535.261.03@" + OLD
KEY = f"535.261.03/open@{OLD}"


def facts(package: str = "kmod-1-1", **times: str | None) -> SupportFacts:
    rows = tuple(replace(row, package=f"{package}.{row.cell}") for row in FACTS.rows)
    kernels = tuple(replace(k, **(times if k.release == OLD else {})) for k in FACTS.kernels)  # type: ignore[arg-type]
    return replace(FACTS, rows=rows, kernels=kernels)


def known(document: dict[str, Any], before: dict[str, CellTimes] | None = None, made: float = MADE) -> Any:
    built = {cell["package"]: BUILT for cell in document["cells"]}
    return update_times(before or {}, document, made, built)


def site(document: dict[str, Any], times: Any, **more: Any) -> Any:
    return site_document([CurrentPublication(digest="0" * 64, document=document)], {WHERE: times}, **more)


def cell_of(found: Any, cell: str = CELL) -> Any:
    return next(c for p in found["publications"] for c in p["cells"] if c["id"] == cell)


def test_hours_count_from_the_kernels_publication_to_the_first_publication_with_its_module() -> None:
    document = support_matrix(facts(published="2026-03-01T12:00Z", built="2026-02-20T00:00Z"))
    found = site(document, known(document))
    cell = cell_of(found)
    assert (cell["built"], cell["available"], cell["hours"]) == ("2026-03-01T06:00Z", "2026-03-02T00:00Z", 12.0)
    (kernel,) = (k for k in found["publications"][0]["kernels"] if k["release"] == OLD)
    assert (kernel["first_module"], kernel["hours"]) == ("2026-03-02T00:00Z", 12.0)


def test_hours_count_from_the_kernels_build_where_only_that_is_recorded() -> None:
    document = support_matrix(facts(built="2026-03-01T00:00Z"))
    assert cell_of(site(document, known(document)))["hours"] == 24.0


def test_what_is_not_recorded_is_unknown_and_in_no_figure() -> None:
    document = support_matrix(facts())
    found = site(document, known(document))
    assert cell_of(found)["hours"] is None
    assert found["freshness"] == {"kernels": 2, "known": 0, "median_hours": None, "longest_hours": None}
    document = support_matrix(facts(built="2026-03-01T00:00Z"))
    found = site(document, known(document))
    assert found["freshness"] == {"kernels": 2, "known": 1, "median_hours": 24.0, "longest_hours": 24.0}


def test_a_module_built_anew_keeps_since_when_there_was_one() -> None:
    first = known(support_matrix(facts()))
    document = support_matrix(facts("kmod-1-2"))
    again = update_times(first, document, MADE + 86400, {f"kmod-1-2.{CELL}": BUILT + 3600})
    assert again[KEY].available == first[KEY].available
    assert (first[KEY].built, again[KEY].built) == ("2026-03-01T06:00Z", "2026-03-01T07:00Z")


def test_nothing_is_forgotten_when_a_cell_leaves_and_comes_back() -> None:
    first = known(support_matrix(facts()))
    gone = known(support_matrix(replace(facts(), rows=())), first, MADE + 86400)
    assert known(support_matrix(facts()), gone, MADE + 2 * 86400) == first


def test_a_run_that_does_not_know_when_something_was_built_forgets_nothing() -> None:
    document = support_matrix(facts())
    first = known(document)
    assert update_times(first, document, MADE, {}) == first


def test_times_are_read_as_written_and_a_damaged_file_is_none() -> None:
    times = {WHERE: known(support_matrix(facts()))}
    assert read_times(write_times(times)) == times
    for damaged in (b"", b"[]", b"{}", b'{"cells": {"a": {"b": {}}}}', b'{"cells": 1}', b"\xff"):
        assert read_times(damaged) == {}


def test_publications_stand_newest_distribution_first() -> None:
    assert [p["distribution"] for p in production_site()["publications"]] == ["el10", "el9", "el8", "el7"]


def test_documents_of_the_production_matrix_and_of_one_publication_are_valid_by_their_schemas() -> None:
    schemas = support_schemas()
    found = production_site(place="https://repo.example.com")
    jsonschema.validate(found, schemas["support-site"])
    jsonschema.validate(support_matrix(facts(built="2026-03-01T00:00Z")), schemas["support-matrix"])


@pytest.mark.parametrize(("key", "value"), [("hours", "24"), ("outcome", "fine"), ("built", "yesterday"), ("log", 1)])
def test_the_schema_refuses_a_cell_of_another_shape(key: str, value: object) -> None:
    document = support_matrix(facts())
    found = site(document, known(document))
    jsonschema.validate(found, support_schemas()["support-site"])
    found["publications"][0]["cells"][0][key] = value
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(found, support_schemas()["support-site"])


@pytest.mark.parametrize("name", ["support-matrix", "support-site"])
def test_every_key_of_the_documents_is_in_the_schema(name: str) -> None:
    """Unknown keys are allowed for the future's sake; today's are all described."""
    schema = support_schemas()[name]
    document = production_site() if name == "support-site" else support_matrix(facts())
    assert list(_undescribed(document, schema, schema)) == []


def _undescribed(value: Any, schema: Any, root: Any) -> Any:
    while "$ref" in schema or "anyOf" in schema:
        if "anyOf" in schema:
            (schema,) = (s for s in schema["anyOf"] if s.get("type") != "null")
        else:
            schema = root["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
    if isinstance(value, list):
        for item in value:
            yield from _undescribed(item, schema["items"], root)
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = schema.get("properties", {}).get(key) or (schema.get("additionalProperties") or None)
            if not isinstance(inner, dict):
                yield key
            elif item is not None:
                yield from _undescribed(item, inner, root)


def generation(repo: Path, name: str, document: dict[str, Any]) -> None:
    """A current publication as the files that the site is made of; what is in it otherwise does not matter here."""
    folder = repo / ".generations" / name
    folder.mkdir(parents=True)
    (folder / "support-matrix.json").write_text(json.dumps(document))
    (folder / "publication.json").write_text("{}")
    link = repo / document["distribution"] / document["arch"]
    link.parent.mkdir(exist_ok=True)
    link.unlink(missing_ok=True)
    link.symlink_to(Path("../.generations") / name)


def read(repo: Path) -> Any:
    return json.loads((repo / "support-matrix.json").read_text())


def test_the_files_of_a_repository_speak_of_all_its_publications_and_are_written_once(tmp_path: Path) -> None:
    settings = Settings(config=Path("matrix.yaml"), repo=tmp_path, base_url="https://repo.example.com/x")
    generation(tmp_path, "1" * 64, support_matrix(facts()))
    generation(tmp_path, "2" * 64, support_matrix(replace(facts(), distribution="el10")))
    assert sorted(write_site(settings)) == ["support-matrix.html", "support-matrix.json", "support-times.json"]
    assert [p["digest"] for p in read(tmp_path)["publications"]] == ["2" * 64, "1" * 64]
    assert write_site(settings) == ()
    assert write_site(replace(settings, base_url=None)) == ()  # a rollback is not told the address again
    assert cell_of(read(tmp_path))["no_log"] == NOT_PUBLISHED


def test_what_an_older_version_published_or_cannot_be_read_harms_nothing(tmp_path: Path) -> None:
    settings = Settings(config=Path("matrix.yaml"), repo=tmp_path)
    old = support_matrix(facts())
    for cell in old["cells"]:
        del cell["package"], cell["signer"]
    for stream in old["streams"]:
        del stream["install"], stream["switch"], stream["profiles"], stream["gpus"]
    del old["signer"]
    generation(tmp_path, "1" * 64, old)
    generation(tmp_path, "2" * 64, support_matrix(replace(facts(), distribution="el8")))
    (tmp_path / "el8/x86_64/support-matrix.json").write_text("{")
    (tmp_path / "el7").mkdir()
    (tmp_path / "el7/x86_64").symlink_to("/nowhere")
    write_site(settings)
    (publication,) = read(tmp_path)["publications"]
    assert publication["digest"] == "1" * 64
    assert cell_of(read(tmp_path))["available"] is None


def test_logs_stand_beside_the_publications_and_stay_when_a_run_brings_none(tmp_path: Path) -> None:
    settings = Settings(config=Path("matrix.yaml"), repo=tmp_path / "repo", publish_logs=True)
    generation(settings.repo_path, "1" * 64, support_matrix(facts()))
    logs = tuple(tmp_path / name for name in ("compile.log", "pack.log"))
    for path in logs:
        path.write_text(f"{path.name}\n")
    write_site(settings, SiteFacts(logs={f"{WHERE}/{CELL}": logs}))
    found = cell_of(read(settings.repo_path))
    assert (settings.repo_path / found["log"]).read_text() == "compile.log\npack.log\n"
    assert found["no_log"] is None
    other = cell_of(read(settings.repo_path), "r550-open:550.163.01@" + OLD)
    assert (other["log"], other["no_log"]) == (None, NOT_HERE)
    assert cell_of(read(settings.repo_path), "r535-open:535.261.03@" + NEW)["no_log"] == "nothing was built"
    assert write_site(settings) == ()


def test_a_log_stays_as_long_as_a_generation_has_its_cell(tmp_path: Path) -> None:
    settings = Settings(config=Path("matrix.yaml"), repo=tmp_path / "repo", publish_logs=True)
    root = settings.repo_path
    (tmp_path / "build.log").write_text("compiled\n")
    generation(root, "1" * 64, support_matrix(facts()))
    write_site(settings, SiteFacts(logs={f"{WHERE}/{CELL}": (tmp_path / "build.log",)}))
    log = cell_of(read(root))["log"]
    (root / "logs/notes.txt").write_text("somebody's\n")
    generation(root, "2" * 64, support_matrix(facts("kmod-1-2")))  # another package, another log
    write_site(settings)
    assert cell_of(read(root))["log"] is None
    assert (root / log).is_file()  # a rollback shows it again
    shutil.rmtree(root / ".generations" / ("1" * 64))
    write_site(settings)
    assert [path.name for path in (root / "logs").iterdir()] == ["notes.txt"]
