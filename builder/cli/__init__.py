"""The command line: parse, call, print, exit code; no logic."""

from __future__ import annotations

from importlib import import_module

import click

from builder import __version__
from builder.tools.garbage import importing

_MODULES = {
    "config_verbs": ("lint", "cells", "schema", "pin", "kernels"),
    "look_verbs": ("plan", "status", "why", "report", "diff"),
    "verify_verb": ("verify",),
    "run_verbs": ("matrix", "fetch", "render", "build", "qualify", "sign", "publish", "resign", "rollback"),
    "store_verbs": ("gc", "prune"),
    "target_verbs": ("push", "serve", "bundle", "unbundle"),
    "doctor_verb": ("doctor",),
    "key_verbs": ("key",),
}
_PLACES = {verb: module for module, verbs in _MODULES.items() for verb in verbs}


class _Verbs(click.Group):
    """Each verb is imported when it is asked for: most need little of the program, whose parts take a second."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  click's signature
        return sorted(_PLACES)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        if cmd_name not in _PLACES:
            return None
        with importing():
            verb: click.Command = getattr(import_module(f"builder.cli.{_PLACES[cmd_name]}"), cmd_name)
        return verb


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="repobuild")
def main() -> None:
    """Build GPU drivers as precompiled kernel modules and publish them as one signed dnf module repository.

    \b
    Example:
      repobuild lint && repobuild pin && repobuild matrix
    """
