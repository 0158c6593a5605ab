"""Shell completion of cell ids; silent when the configuration cannot be read."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem

from builder.errors import RepobuildError
from builder.pipeline.settings import Settings

if TYPE_CHECKING:
    from builder.pipeline.configure import Configuration


def _configuration(ctx: click.Context) -> Configuration:
    from builder.pipeline.configure import configure  # noqa: PLC0415  every verb imports this module

    return configure(Settings(config=Path(str(ctx.params.get("config") or "matrix.yaml"))))


def complete_cells(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the matrix's cells that start with what was typed."""
    try:
        cells = _configuration(ctx).cells
    except RepobuildError:
        return []
    return [CompletionItem(c.id, help=c.driver.version) for c in cells if c.id.startswith(incomplete)]


def complete_streams(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the streams that start with what was typed."""
    try:
        streams = _configuration(ctx).matrix.streams
    except RepobuildError:
        return []
    return [CompletionItem(s.name, help=s.summary) for s in streams if s.name.startswith(incomplete)]
