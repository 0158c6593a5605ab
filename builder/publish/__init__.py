"""Immutable publications behind one symlink, and the client's view of them."""

from builder.publish.generations import current_generation, rollback
from builder.publish.publish import publish
from builder.publish.verify import PublicationReport, verify_publication

__all__ = ["PublicationReport", "current_generation", "publish", "rollback", "verify_publication"]
