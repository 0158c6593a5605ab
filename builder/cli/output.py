"""Data on stdout, people on stderr, errors with subject, evidence and next step."""

from __future__ import annotations

import functools
import json
import signal
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.markup import escape

from builder.errors import InterruptedRunError, RepobuildError
from builder.pipeline.events import Event
from builder.tools.run import Terminated, cancel_all

F = TypeVar("F", bound=Callable[..., Any])


def people() -> Console:
    """The console for people: stderr."""
    return Console(stderr=True, highlight=False)


def data() -> Console:
    """The console for tables asked for: stdout."""
    return Console(highlight=False)


def warnings(event: Event) -> None:
    """A listener for verbs that look: what is not as it should be, nothing else."""
    if event.state == "warning":
        people().print(f"{event.stage} warning: {event.subject}: {event.text}", markup=False, soft_wrap=True)


def print_json(document: object) -> None:
    """One JSON document on stdout."""
    json.dump(document, sys.stdout, indent=2, default=str)
    sys.stdout.write("\n")


def error_document(error: RepobuildError) -> dict[str, object]:
    """A failure as JSON."""
    return {
        "error": {
            "code": error.code,
            "exit_code": error.exit_code,
            "message": error.message,
            "details": list(error.details),
            "hint": error.hint,
            "log": str(error.log) if error.log else None,
        }
    }


def print_error(error: RepobuildError) -> None:
    """A failure for people: what, evidence, next step, log."""
    console = people()
    console.print(f"[bold red]error[/] [dim]({error.code})[/] {escape(error.message)}", soft_wrap=True)
    for line in error.details:
        console.print(f"  {line}", markup=False, soft_wrap=True)
    if error.hint:
        console.print(f"[bold]next:[/] {escape(error.hint)}", soft_wrap=True)
    if error.log:
        console.print(f"[bold]log:[/] {escape(str(error.log))}", soft_wrap=True)


def _terminated(_number: int, _frame: FrameType | None) -> None:
    raise Terminated


def command(function: F) -> F:
    """Wrap a verb: every RepobuildError is printed and becomes its exit code; Ctrl-C and SIGTERM end cleanly."""

    @functools.wraps(function)
    def wrapper(*args: Any, **kwargs: Any) -> None:
        signal.signal(signal.SIGTERM, _terminated)
        try:
            function(*args, **kwargs)
        except KeyboardInterrupt:
            cancel_all()
            _fail(
                InterruptedRunError(
                    "interrupted: running builds were stopped, finished ones are kept",
                    hint="run the same command again; it goes on from there",
                ),
                as_json=bool(kwargs.get("as_json")),
            )
        except RepobuildError as exc:
            _fail(exc, as_json=bool(kwargs.get("as_json")))

    return wrapper  # type: ignore[return-value]  # wraps keeps the verb's own signature for click


def _fail(error: RepobuildError, *, as_json: bool) -> None:
    print_error(error)
    if as_json and not error.reported:
        print_json(error_document(error))
    raise click.exceptions.Exit(error.exit_code)
