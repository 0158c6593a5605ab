"""support-matrix.html: one self-contained file; its table needs no script, and nothing is loaded from anywhere.

Budget: 300 KB for 2,000 cells (tests/unit/test_support_page.py), so sentences that cells share are written once and the
picker reads the table instead of a second copy of it.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from itertools import groupby
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template
from markupsafe import Markup

from builder.model.matrix import Kmods
from builder.model.report import SupportFacts
from builder.report.commands import PLACE
from builder.report.grid import WORDS, Reasons, columns_of, hours_text, rows_of, shared_no_log
from builder.report.site import CurrentPublication, site_document
from builder.report.support_matrix import support_json, support_matrix
from builder.report.timeline import leaving_of, lifetimes_of

NO_TIMES = "this page is part of a publication, which holds no times and no logs; the repository's own page has them"


@cache
def _template() -> Template:
    environment = Environment(
        loader=PackageLoader("builder.report", "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters["hours"] = hours_text
    environment.filters["placed"] = _placed
    environment.policies["json.dumps_kwargs"] = {"separators": (",", ":"), "ensure_ascii": False}
    return environment.get_template("support-matrix.html.j2")


@cache
def _inline(name: str) -> tuple[Markup, str]:
    """A style sheet or script as it stands in the page, and what the page's policy allows it by (CSP level 2)."""
    text = (files("builder.report") / "templates" / name).read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
    return Markup(text), f"'sha256-{digest}'"  # noqa: S704  our own file


def support_page(site: Mapping[str, Any]) -> bytes:
    """A document of ``site_document`` as a page; a function of the document alone."""
    columns, reasons = columns_of(site), Reasons()
    tables = [(p, rows_of(p, columns, reasons), shared_no_log(p)) for p in site["publications"]]
    outcomes = [cell["outcome"] for p in site["publications"] for cell in p["cells"]]
    counts = {word: outcomes.count(state) for state, word in WORDS.items() if state in outcomes}
    style, style_hash = _inline("support-matrix.css")
    script, script_hash = _inline("support-matrix.js")
    policy = (
        f"default-src 'none'; style-src {style_hash}; script-src {script_hash}; base-uri 'none'; form-action 'none'"
    )
    page = _template().render(
        site=site,
        columns=columns,
        groups=[(branch, len(list(found))) for branch, found in groupby(columns, lambda column: column.branch)],
        tables=tables,
        counts=counts,
        reasons=reasons.texts,
        lifetimes=lifetimes_of(site),
        leaving=leaving_of(site),
        picker=_picker(site),
        style=style,
        script=script,
        policy=policy,
    )
    return page.encode()


def support_files(facts: SupportFacts) -> tuple[tuple[str, bytes], ...]:
    """The files of a publication that say what it supports, as (name, bytes); a function of the facts alone."""
    document = support_matrix(facts)
    site = site_document([CurrentPublication(digest=None, document=document)], {}, no_log=NO_TIMES)
    return ("support-matrix.html", support_page(site)), ("support-matrix.json", support_json(document))


def _picker(site: Mapping[str, Any]) -> dict[str, Any]:
    """What the script needs beyond the table: streams with their commands, branches with their limits."""
    branches = {b["name"]: b for p in site["publications"] for b in p["branches"]}
    place = site["place"]
    return {
        "branches": {
            name: {
                "eol": b["eol"],
                "cuda": b["max_cuda"],
                "type": b["type"],
                "gpus": b["gpus"],
                "open": b.get("open_gpus", b["gpus"]),
                "proprietary": b.get("proprietary_gpus", b["gpus"]),
            }
            for name, b in branches.items()
        },
        "publications": [
            {
                "d": p["distribution"],
                "a": p["arch"],
                "title": p["title"],
                "signer": p["signer"]["name"] if p["signer"] else None,
                "log": shared_no_log(p),
                "begin": [_placed(line, place) for line in p["begin"]],
                "streams": [
                    (  # a row, as the script names its places; objects would be twice as long
                        s["name"],
                        s["branch"],
                        s["flavor"],
                        int(s["kmods"] == Kmods.DKMS.value),
                        int(s["default"]),
                        s["drivers"],
                        [_placed(line, place) for line in s["install"]],
                        [_placed(line, place) for line in s["switch"]],
                        s["held"][-1]["reason"] if s["held"] and not s["drivers"] else "",
                    )
                    for s in p["streams"]
                ],
            }
            for p in site["publications"]
        ],
    }


def _placed(command: str, place: str | None) -> str:
    return command.replace(f"{PLACE}/", f"{place.rstrip('/')}/") if place else command
