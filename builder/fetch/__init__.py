"""Sources: fetched, checked against matrix.lock.yaml, and driver archives made ready for packaging."""

from builder.fetch.archives import find_archive, read_archive
from builder.fetch.download import download
from builder.fetch.locked import fetch_locked, rpm_filename
from builder.fetch.manifest import Manifest, parse_manifest
from builder.fetch.open_tree import keep_open_tree, tarball_file, with_open_tree
from builder.fetch.prepare import find_prepared, prepare_driver
from builder.fetch.source import fetch_source, pin_source

__all__ = [
    "Manifest",
    "download",
    "fetch_locked",
    "fetch_source",
    "find_archive",
    "find_prepared",
    "keep_open_tree",
    "parse_manifest",
    "pin_source",
    "prepare_driver",
    "read_archive",
    "rpm_filename",
    "tarball_file",
    "with_open_tree",
]
