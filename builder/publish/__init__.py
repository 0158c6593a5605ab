"""Immutable publications behind one symlink, and the client's view of them."""

from builder.publish.clients import client_repository
from builder.publish.errata import advisory_ids, with_errata
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
from builder.publish.transitions import Proof, prove_transitions
from builder.publish.verify import PublicationReport, verify_publication
from builder.publish.webhooks import Told, send, shown

__all__ = [
    "Generation",
    "Proof",
    "PublicationReport",
    "Repository",
    "Told",
    "advisory_ids",
    "client_repository",
    "current_generation",
    "find_generation",
    "prove_transitions",
    "publish",
    "read_generation",
    "rollback",
    "send",
    "shown",
    "verify_publication",
    "with_errata",
    "with_former",
]
