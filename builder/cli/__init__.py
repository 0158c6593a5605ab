"""The command line: parse, call, print, exit code; no logic."""

from __future__ import annotations

import gc

import click

from builder import __version__
from builder.cli import config_verbs, doctor_verb, key_verbs, look_verbs, run_verbs, store_verbs, target_verbs

_NEW_OBJECTS = 50_000  # between two looks at the youngest


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.version_option(__version__, prog_name="repobuild")
def main() -> None:
    """Build GPU drivers as precompiled kernel modules and publish them as one signed dnf module repository.

    \b
    Example:
      repobuild lint && repobuild pin && repobuild matrix
    """
    tune()


def tune() -> None:
    """Look for garbage in cycles rarely: thousands of cells and packages live to the end, and each look walks them."""
    gc.freeze()
    gc.set_threshold(_NEW_OBJECTS, 50, 50)


_GROUPS = (config_verbs, look_verbs, run_verbs, store_verbs, target_verbs, doctor_verb)
for _verb in (*(verb for group in _GROUPS for verb in group.VERBS), key_verbs.key):
    main.add_command(_verb)
