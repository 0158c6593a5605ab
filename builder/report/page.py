"""support-matrix.html: one self-contained file for admins, readable in light and dark, without scripts."""

from __future__ import annotations

from functools import cache
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined, Template

from builder.model.report import SupportFacts
from builder.report.support_matrix import support_json, support_matrix

WORDS = {
    "published": "offered",
    "dkms": "DKMS",
    "held": "held back",
    "failed": "failed",
    "blocked": "blocked",
    "excluded": "excluded",
    "none": "–",
}


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
    return environment.get_template("support-matrix.html.j2")


def support_page(document: dict[str, Any]) -> bytes:
    """The support matrix as a page; a function of the document alone."""
    lifetimes = {branch["name"]: branch for branch in document["branches"]}
    outcomes = [cell["outcome"] for cell in document["cells"]]
    counts = {word: outcomes.count(word) for word in dict.fromkeys(("published", *sorted(set(outcomes))))}
    missing = [cell for cell in document["cells"] if cell["outcome"] != "published"]
    return _template().render(m=document, lifetimes=lifetimes, counts=counts, missing=missing, words=WORDS).encode()


def support_files(facts: SupportFacts) -> tuple[tuple[str, bytes], ...]:
    """The files of a publication that say what it supports, as (name, bytes); a function of the facts alone."""
    document = support_matrix(facts)
    return ("support-matrix.html", support_page(document)), ("support-matrix.json", support_json(document))
