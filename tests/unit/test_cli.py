"""The command line as a whole."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click

import builder.cli
from builder.cli import main


def test_every_verb_of_every_module_is_there() -> None:
    context = click.Context(main)
    known = {name: main.get_command(context, name) for name in main.list_commands(context)}
    assert all(command is not None and command.name == name for name, command in known.items())
    commands = set()
    for file in Path(builder.cli.__file__).parent.glob("*_verb*.py"):
        found = vars(import_module(f"builder.cli.{file.stem}")).values()
        commands |= {value for value in found if isinstance(value, click.Command)}
    of_groups = {c for group in commands if isinstance(group, click.Group) for c in group.commands.values()}
    assert commands - of_groups == set(known.values())


def test_clients_look_at_a_publication_without_what_builds_one() -> None:
    """Start-up is most of what such a verb takes."""
    look = "import sys, builder.cli.verify_verb, builder.cli.key_verbs; print('\\n'.join(sys.modules))"
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, check=True)
    loaded = done.stdout.split()
    assert "builder.publish.integrity" in loaded
    assert not {"builder.pipeline.matrix", "builder.build", "builder.config"} & set(loaded)
