"""The support-matrix page: small, self-contained, nothing of the data is taken for markup."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from dataclasses import replace
from typing import Any

import pytest
from markupsafe import escape

from builder.model.gpu_generations import driven_by
from builder.model.matrix import Flavor
from builder.report import CurrentPublication, site_document, support_files, support_matrix, support_page
from tests.tools.support_site import FAILED, Page, production_site
from tests.unit.test_report import FACTS

BUDGET = 300 * 1000  # bytes for 2,000 cells
HOSTILE = "</script><script>alert(1)</script>\"'><img src=x onerror=alert(1)>&amp;{{ 7*7 }}"


@pytest.fixture(scope="module")
def site() -> dict[str, Any]:
    return production_site(place="https://repo.example.com/nvidia")


def cells_of(site: dict[str, Any]) -> list[dict[str, Any]]:
    return [cell for publication in site["publications"] for cell in publication["cells"]]


def test_two_thousand_cells_with_all_their_facts_stay_within_the_budget() -> None:
    site = production_site(kernels=41)
    assert len(cells_of(site)) >= 2000
    whole = [c for c in cells_of(site) if c["built"] and c["log"] and c["hours"] is not None]
    assert len(whole) >= 1900
    assert len(support_page(site)) <= BUDGET


def test_nothing_is_loaded_and_the_policy_allows_no_other_script_or_style(site: dict[str, Any]) -> None:
    text = support_page(site).decode()
    page = Page(text.encode())
    assert page.open == []
    assert page.loads == []
    assert page.handlers == []
    assert [link for link in page.links if re.match(r"[a-z]+:|//", link)] == []
    (policy,) = (a["content"] or "" for tag, a in page.elements if a.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for tag in ("style", "script"):
        (found,) = re.findall(rf"<{tag}>(.*?)</{tag}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(found.encode()).digest()).decode()
        assert f"{tag}-src 'sha256-{digest}'" in policy


def test_text_of_the_data_is_never_markup() -> None:
    hostile = replace(
        FACTS,
        title=HOSTILE,
        module=HOSTILE,
        branches=tuple(replace(b, note=HOSTILE, type=HOSTILE, gpus=(HOSTILE,)) for b in FACTS.branches),
        kernels=tuple(replace(k, variant=HOSTILE) for k in FACTS.kernels),
        streams=tuple(replace(s, summary=HOSTILE, held=(("1.2", HOSTILE),)) for s in FACTS.streams),
        rows=tuple(replace(r, reason=HOSTILE, level=HOSTILE) for r in FACTS.rows),
        signer=(HOSTILE, "0" * 64),
    )
    plain, page = (Page(dict(support_files(f))["support-matrix.html"]) for f in (FACTS, hostile))
    assert {tag for tag, _ in page.elements} <= {tag for tag, _ in plain.elements} | {"a"}  # the signer's certificate
    assert sum(tag == "script" for tag, _ in page.elements) == 2
    assert page.text.count(HOSTILE) >= 8
    site = site_document([CurrentPublication(digest=None, document=support_matrix(hostile))], {}, no_log=HOSTILE)
    (data,) = re.findall(r'id="data">(.*?)</script>', support_page(site).decode(), re.DOTALL)
    assert json.loads(data)["publications"][0]["title"] == HOSTILE


def test_only_a_log_of_ours_becomes_a_link(site: dict[str, Any]) -> None:
    bad = json.loads(json.dumps(site))
    for cell in cells_of(bad):
        cell["log"] = "javascript:alert(1)"
    assert not any("javascript" in link for link in Page(support_page(bad)).links)


def test_each_cell_says_driver_level_date_hours_log_or_why(site: dict[str, Any]) -> None:
    text = support_page(site).decode()
    assert "<b>580.142</b> secureboot<i>2025-10-09 40 h <a href=logs/" in text
    assert re.search(
        r"<b>550\.163\.01</b> failed<i> <a href=logs/[0-9a-f]{10}\.log>log</a> <a href=#w\d+>why</a>", text
    )
    assert "freshness unknown: no kernel's time is recorded here" in text  # el7 and el8
    page = Page(support_page(site))
    for reason in FAILED.values():  # sentences that cells share stand there once
        assert text.count(f">{escape(reason)}</li>") == 1
    assert "RHEL 7 left maintenance" in page.text
    assert "Modules signed by “Example kernel modules”" in page.text


def test_why_there_is_no_log_is_said() -> None:
    text = Page(support_page(production_site(logs=False))).text
    assert text.count("Without a log link: logs are not published here") == 4  # once a distribution


def test_modules_nobody_signed_are_named() -> None:
    assert "Modules are not signed" in Page(support_page(production_site(signed=False))).text
    site = production_site()
    cell = next(c for c in cells_of(site) if c["outcome"] == "published")
    cell["signer"] = None
    assert "unsigned" in Page(support_page(site)).text


def test_lifetimes_are_text_and_bars(site: dict[str, Any]) -> None:
    page = Page(support_page(site))
    times = [a["datetime"] or "" for tag, a in page.elements if tag == "time"]
    assert [text for text in times if len(text) <= len("2027-03")] == [  # not the days that something leaves on
        "2027-03",
        "2028-06",
        "2026-02",
        "2026-06",
        "2024",
        "2022-03",
    ]
    ends = {a["data-end"]: a["width"] for tag, a in page.elements if tag == "rect"}
    assert ends["2028-06"] == "93.8%"  # of 2021 to 2029
    assert ends[""] == "100%"


def test_open_modules_drive_turing_and_newer_proprietary_ones_not_blackwell() -> None:
    every = ("kepler", "volta", "turing", "hopper", "grace-hopper", "blackwell", "rubin")
    assert driven_by(Flavor.OPEN, every) == ("turing", "hopper", "grace-hopper", "blackwell", "rubin")
    assert driven_by(Flavor.PROPRIETARY, every) == ("kepler", "volta", "turing", "hopper", "rubin")


def test_announcements_of_several_distributions_are_one_line_each_the_next_first(site: dict[str, Any]) -> None:
    said = json.loads(json.dumps(site))
    rows = [("kernel <5.14>", "2031-06-30"), ("branch R580", "2030-06-30")]
    for publication in said["publications"][:2]:
        publication["leaving"] = [
            {"what": what, "kind": "x", "name": what, "leaves": day, "why": "its lifetime ends"} for what, day in rows
        ]
    text = " ".join(Page(support_page(said)).text.split())
    first = "branch R580 from 2030-06-30 on, in el10 x86_64, el9 x86_64: its lifetime ends"
    assert f"{first} kernel <5.14> from 2031-06-30 on" in text


@pytest.mark.parametrize("where", ["branches", "streams", "kernels"])
def test_what_leaves_is_shown_where_the_data_says_so(site: dict[str, Any], where: str) -> None:
    said = json.loads(json.dumps(site))
    for publication in said["publications"]:
        publication[where][-1]["leaves"] = "2031-12-31"
    assert "2031-12-31" in Page(support_page(said)).text
    assert "2031-12-31" not in Page(support_page(site)).text
