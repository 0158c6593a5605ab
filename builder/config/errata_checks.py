"""What advisories, lifetimes and webhooks say that their shape alone does not show to be wrong."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date

from builder.config.faults import find_twice
from builder.config.fileset import FileSet
from builder.config.nodes import Node
from builder.config.schema import CVE, DAY, UNTIL


def check_errata(files: FileSet) -> Iterator[tuple[int, str]]:
    """Line and message of every mistake."""
    for branch, driver in files.drivers():
        where = f"branches.{branch}: driver {driver.get('version').raw or '?'}"
        yield from _advisory(driver.get("advisory"), f"{where}: advisory")
    for index, kernel in enumerate(files.kernels()):
        yield from _advisory(kernel.get("advisory"), f"kernels[{index}].advisory")
        yield from day_faults(kernel.get("eol"), UNTIL, f"kernels[{index}].eol")
    hooks = files.matrix.get("webhooks").elements
    yield from find_twice([hook.get("url") for hook in hooks], "webhooks")
    for index, hook in enumerate(hooks):
        if hook.get("secret_file").text and hook.get("secret_env").text:
            line = hook.get("secret_env").line
            yield line, f"webhooks[{index}]: secret_file and secret_env: give one of them"


def _advisory(node: Node, where: str) -> Iterator[tuple[int, str]]:
    yield from day_faults(node.get("issued"), DAY, f"{where}.issued")
    cves, references = node.get("cves"), node.get("references")
    yield from find_twice(cves.elements, f"{where}.cves")
    yield from find_twice(references.elements, f"{where}.references")
    if any(re.fullmatch(CVE, text) for text in cves.texts()) and node.get("severity").kind == "missing":
        yield cves.line, f"{where}: there are CVEs and no severity: say how bad the worst of them is"


def day_faults(node: Node, pattern: str, where: str) -> Iterator[tuple[int, str]]:
    """A day that no calendar has."""
    text = node.text
    if text and re.fullmatch(pattern, text) and text.count("-") == 2:  # YYYY-MM-DD
        try:
            date.fromisoformat(text)
        except ValueError as exc:
            yield node.line, f"{where}: {text!r} is no day: {exc}"
