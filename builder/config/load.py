"""One call from files to the model, or all mistakes of all files at once."""

from __future__ import annotations

from pathlib import Path

from builder.config.assemble import assemble
from builder.config.checks import check_matrix
from builder.config.faults import validate
from builder.config.fileset import read_files
from builder.config.schema import MatrixFile, StreamFile
from builder.config.stream_checks import check_streams
from builder.errors import ConfigError, Mistake
from builder.model.matrix import Matrix


def load_matrix(matrix: Path, streams: Path | None = None) -> Matrix:
    """Read matrix.yaml and its streams (``streams/`` beside it unless given).

    Shape and cross checks always both run, over every file that is YAML. Raises ConfigError with every mistake.
    Reads the mock configuration templates and the patches too; nothing else.
    """
    mistakes: list[Mistake] = []
    files = read_files(matrix, streams or matrix.parent / "streams", mistakes)
    checked = (
        validate(MatrixFile, files.matrix, files.matrix_file, mistakes) if files.matrix.kind == "mapping" else None
    )
    checked_streams = [validate(StreamFile, tree.node, tree.file, mistakes) for tree in files.streams]
    mistakes += check_matrix(files)
    mistakes += check_streams(files)
    if mistakes or checked is None:
        raise ConfigError(list(dict.fromkeys(mistakes)), hint="docs/schema/ describes every key")
    return assemble(checked, [stream for stream in checked_streams if stream is not None], files)
