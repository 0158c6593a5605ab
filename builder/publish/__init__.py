"""Immutable publications behind one symlink, and the client's view of them."""

from builder.publish.clients import KEY_FILE, client_repository
from builder.publish.former import with_former
from builder.publish.generations import (
    Generation,
    Repository,
    current_generation,
    find_generation,
    read_generation,
    rollback,
)
from builder.publish.integrity import IntegrityReport, verify_integrity
from builder.publish.issue import is_due, issue
from builder.publish.key_files import key_files
from builder.publish.manifest import Terms, manifest_schema
from builder.publish.publish import publish
from builder.publish.seen import SeenFile
from builder.publish.transitions import Proof, prove_transitions
from builder.publish.verify import PublicationReport, verify_publication

__all__ = [
    "KEY_FILE",
    "Generation",
    "IntegrityReport",
    "Proof",
    "PublicationReport",
    "Repository",
    "SeenFile",
    "Terms",
    "client_repository",
    "current_generation",
    "find_generation",
    "is_due",
    "issue",
    "key_files",
    "manifest_schema",
    "prove_transitions",
    "publish",
    "read_generation",
    "rollback",
    "verify_integrity",
    "verify_publication",
    "with_former",
]
