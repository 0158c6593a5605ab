"""The documentation says what the program says: ``python -m tests.readme --check`` or ``--write``.

Checked: every ``<!-- help: repobuild VERB -->`` block against the real --help, the exit-code table of the user guide
against builder/errors.py, and every relative link.
"""

from __future__ import annotations

import argparse
import re
import sys
from pathlib import Path

from click.testing import CliRunner

from builder import errors
from builder.cli import main as repobuild

TOP = Path(__file__).parents[1]
PAGES = [TOP / "README.md", TOP / "CHANGELOG.md", *sorted((TOP / "docs").rglob("*.md"))]
_HELP = re.compile(r"(<!-- help: repobuild(?P<words>[^>]*?) -->\n```text\n)(?P<text>.*?)(```\n)", re.DOTALL)
_CODES = re.compile(r"(<!-- exit codes -->\n)(?P<text>.*?)(<!-- /exit codes -->\n)", re.DOTALL)
_LINK = re.compile(r"\]\((?!https?://|#|mailto:)([^)#\s]+)(?:#[^)]*)?\)")


def help_text(words: str) -> str:
    """What ``repobuild WORDS --help`` prints at 100 columns."""
    arguments = [*words.split(), "--help"]
    done = CliRunner().invoke(repobuild, arguments, prog_name="repobuild", terminal_width=100)
    if done.exit_code:
        raise SystemExit(f"repobuild {words} --help: {done.output}")
    return done.output


def exit_codes() -> str:
    """The exit-code table: one row a class of builder/errors.py."""
    found = [value for value in vars(errors).values() if isinstance(value, type)]
    classes = sorted(
        (c for c in found if issubclass(c, errors.RepobuildError)), key=lambda c: (c.exit_code, c.__name__)
    )
    rows = [f"| {c.exit_code} | `{c.code}` | {(c.__doc__ or '').splitlines()[0].replace('``', '`')} |" for c in classes]
    return "\n".join(["| exit code | code | meaning |", "| --- | --- | --- |", *rows, ""])


def fresh(text: str) -> str:
    """A page with its generated parts as they must be."""
    text = _HELP.sub(lambda m: f"{m[1]}{help_text(m['words'])}{m[4]}", text)
    return _CODES.sub(lambda m: f"{m[1]}{exit_codes()}{m[3]}", text)


def faults() -> list[str]:
    """What is stale or dangling, one line each."""
    found = []
    for page in PAGES:
        text = page.read_text()
        if fresh(text) != text:
            found.append(f"{page.relative_to(TOP)}: generated parts are stale: python -m tests.readme --write")
        dangling = (target for target in _LINK.findall(text) if not (page.parent / target).exists())
        found.extend(f"{page.relative_to(TOP)}: link to {target}, which is not there" for target in dangling)
    return found


def main() -> None:
    """Check or rewrite."""
    parser = argparse.ArgumentParser(description=__doc__)
    mode = parser.add_mutually_exclusive_group(required=True)
    mode.add_argument("--check", action="store_true")
    mode.add_argument("--write", action="store_true")
    if parser.parse_args().write:
        for page in PAGES:
            page.write_text(fresh(page.read_text()))
    wrong = faults()
    sys.stderr.writelines(f"{line}\n" for line in wrong)
    sys.exit(bool(wrong))


if __name__ == "__main__":
    main()
