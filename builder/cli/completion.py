"""Shell completion of cell ids; silent when the configuration cannot be read."""

from __future__ import annotations

from pathlib import Path

import click
from click.shell_completion import CompletionItem

from builder.errors import RepobuildError
from builder.pipeline.configure import configure
from builder.pipeline.settings import Settings


def _settings(ctx: click.Context) -> Settings:
    return Settings(config=Path(str(ctx.params.get("config") or "matrix.yaml")))


def complete_cells(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Ids of the matrix's cells that start with what was typed."""
    try:
        cells = configure(_settings(ctx)).cells
    except RepobuildError:
        return []
    return [CompletionItem(c.id, help=c.driver.version) for c in cells if c.id.startswith(incomplete)]


def complete_streams(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Names of the streams that start with what was typed."""
    try:
        streams = configure(_settings(ctx)).matrix.streams
    except RepobuildError:
        return []
    return [CompletionItem(s.name, help=s.summary) for s in streams if s.name.startswith(incomplete)]
