"""Immutable publications behind one symlink, and the client's view of them."""

from builder.publish.bundle import Manifest, open_tar, trusted_manifest, write_bundle
from builder.publish.clients import client_repository
from builder.publish.former import with_former
from builder.publish.generations import (
    Generation,
    Repository,
    current_generation,
    find_generation,
    read_generation,
    rollback,
)
from builder.publish.publish import publish
from builder.publish.push_rsync import RsyncTarget
from builder.publish.push_s3 import S3Target
from builder.publish.pushed import Pushed
from builder.publish.selection import select, write_selection
from builder.publish.serving import PublicationServer
from builder.publish.site import LOGS, Bytes, CurrentSupport, update_site
from builder.publish.transitions import Proof, prove_transitions
from builder.publish.unbundle import unbundle
from builder.publish.verify import PublicationReport, verify_publication

__all__ = [
    "LOGS",
    "Bytes",
    "CurrentSupport",
    "Generation",
    "Manifest",
    "Proof",
    "PublicationReport",
    "PublicationServer",
    "Pushed",
    "Repository",
    "RsyncTarget",
    "S3Target",
    "client_repository",
    "current_generation",
    "find_generation",
    "open_tar",
    "prove_transitions",
    "publish",
    "read_generation",
    "rollback",
    "select",
    "trusted_manifest",
    "unbundle",
    "update_site",
    "verify_publication",
    "with_former",
    "write_bundle",
    "write_selection",
]
