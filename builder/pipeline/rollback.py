"""Make an earlier generation current again."""

from __future__ import annotations

from builder.model.publication import Publication
from builder.pipeline.settings import Settings
from builder.publish import rollback
from builder.store import Store


def rollback_to(settings: Settings, distribution: str, arch: str, digest: str) -> Publication:
    """Move the symlink of a distribution × arch; the lock keeps a running build from publishing meanwhile."""
    with Store.open(settings.work):
        return rollback(settings.repo_path, distribution, arch, digest)
