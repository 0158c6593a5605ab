"""The default stream is what an admin gets who chooses nothing: it never changes by accident."""

from __future__ import annotations

from pathlib import Path

from builder.errors import PublishError
from builder.model.publication import PublicationContent
from builder.publish.module_checks import read_default
from builder.publish.record import RECORD, read_record
from builder.publish.trees import read_named_streams, read_trees


def check_default(content: PublicationContent, current: Path) -> None:
    """Compare the default stream with that of the generation in ``current``.

    Raises PublishError when another stream becomes the default that does not say so (``default_instead_of``). A default
    that is held back, so that the publication has none, is no change; nor is its coming back.
    """
    former = _default_of(current)
    stream = next((part.stream for part in content.streams if part.stream.default), None)
    if stream is None or former in (None, stream.name, *stream.default_instead_of):
        return
    raise PublishError(
        f"{content.distribution}/{content.arch}: the default stream would change from {former!r} to {stream.name!r}",
        details=[
            f"a host that chooses nothing would get {stream.name}",
            f"streams/{stream.name}.yaml: default_instead_of does not name {former!r}",
        ],
        hint=f"if it is meant, write default_instead_of: [{former}] into streams/{stream.name}.yaml; if not, write"
        f" default: true into streams/{former}.yaml",
    )


def _default_of(current: Path) -> str | None:
    record = read_record(current) if (current / RECORD).is_file() else {}
    if trees := read_trees(record):
        return next((tree.name for tree in trees if tree.default), None)
    if named := read_named_streams(record):
        return named[0].default_stream
    return read_default(current)
