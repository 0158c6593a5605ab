"""matrix.yaml, streams/*.yaml and matrix.lock.yaml → model values; all mistakes of a file set in one pass."""

from builder.config.load import load_matrix
from builder.config.lock import load_lock, write_lock
from builder.config.schema import json_schemas

__all__ = ["json_schemas", "load_lock", "load_matrix", "write_lock"]
