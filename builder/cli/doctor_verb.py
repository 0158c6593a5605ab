"""doctor: what this machine can do for the matrix, and what to install."""

from __future__ import annotations

from typing import Any

import click
from rich.text import Text

from builder.cli.options import doctor_options, make_settings
from builder.cli.output import command, data, print_json
from builder.model.machine import Examination, Fitness
from builder.pipeline.doctor import examine

_STYLES = {Fitness.OK: "green", Fitness.ABSENT: "dim", Fitness.WARNING: "yellow", Fitness.MISSING: "bold red"}


def _document(found: Examination) -> dict[str, object]:
    failure = found.failure
    return {
        "ready": failure is None,
        "exit_code": failure.exit_code if failure else 0,
        "install": found.install,
        "findings": [
            {
                "subject": f.subject,
                "fitness": f.fitness.value,
                "text": f.text,
                "code": f.error.code if f.error else None,
                "hint": f.error.hint if f.error else None,
                "details": list(f.error.details) if f.error else [],
            }
            for f in found.findings
        ],
    }


@click.command()
@doctor_options
@command
def doctor(as_json: bool, **options: Any) -> None:
    """Can this machine do what the matrix asks? Give it the options of your run. Changes and builds nothing.

    Exit code 0 when the selected builder and levels can run, else that of the first failure a run would meet.

    \b
    Example:
      repobuild doctor --gnupghome ./keys --work /srv/repobuild
    """
    options.pop("dry_run")
    found = examine(make_settings(options))
    if as_json:
        print_json(_document(found))
    else:
        width = max(len(f.subject) for f in found.findings)
        for finding in found.findings:
            line = Text(f"{finding.fitness.value:<8}", style=_STYLES[finding.fitness])
            line.append(f" {finding.subject:<{width}}  {finding.text}", style="default")
            data().print(line, soft_wrap=True)
        if found.install:
            data().print(Text(f"install: {found.install}"), soft_wrap=True)
    if found.failure is not None:
        found.failure.reported = as_json
        raise found.failure
