"""matrix.yaml, streams/*.yaml and matrix.lock.yaml → model values; all mistakes of a file set in one pass."""

from builder.config.load import load_matrix
from builder.config.lock import load_lock, write_lock
from builder.config.retired import load_retired, write_retired
from builder.config.schema import json_schemas

__all__ = ["json_schemas", "load_lock", "load_matrix", "load_retired", "write_lock", "write_retired"]
