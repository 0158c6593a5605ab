"""Immutable publications behind one symlink, and the client's view of them."""

from builder.publish.bundle import Manifest, open_tar, trusted_manifest, write_bundle
from builder.publish.clients import KEY_FILE, client_repository, host_repository
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
from builder.publish.integrity import IntegrityReport, verify_integrity
from builder.publish.issue import is_due, is_newest, issue, issue_part, lifetime_of
from builder.publish.key_files import key_files, told_keys
from builder.publish.manifest import SITE as SITE_MANIFEST
from builder.publish.manifest import Terms, manifest_schemas
from builder.publish.order import LOGS
from builder.publish.publish import publish
from builder.publish.push_rsync import RsyncTarget
from builder.publish.push_s3 import S3Target
from builder.publish.pushed import Pushed
from builder.publish.seen import SeenFile
from builder.publish.selection import select, write_selection
from builder.publish.site import Bytes, CurrentSupport, update_site
from builder.publish.site_integrity import SiteReport, is_site, verify_site
from builder.publish.site_issue import issue_site
from builder.publish.standing import let_stand
from builder.publish.transitions import Proof, prove_transitions
from builder.publish.tree_files import shared_rpms
from builder.publish.unbundle import unbundle
from builder.publish.verify import PublicationReport, verify_publication
from builder.publish.webhooks import Told, send, shown

__all__ = [
    "KEY_FILE",
    "LOGS",
    "SITE_MANIFEST",
    "Bytes",
    "CurrentSupport",
    "Generation",
    "IntegrityReport",
    "Manifest",
    "Proof",
    "PublicationReport",
    "Pushed",
    "Repository",
    "RsyncTarget",
    "S3Target",
    "SeenFile",
    "SiteReport",
    "Terms",
    "Told",
    "advisory_ids",
    "client_repository",
    "current_generation",
    "find_generation",
    "host_repository",
    "is_due",
    "is_newest",
    "is_site",
    "issue",
    "issue_part",
    "issue_site",
    "key_files",
    "let_stand",
    "lifetime_of",
    "manifest_schemas",
    "open_tar",
    "prove_transitions",
    "publish",
    "read_generation",
    "rollback",
    "select",
    "send",
    "shared_rpms",
    "shown",
    "told_keys",
    "trusted_manifest",
    "unbundle",
    "update_site",
    "verify_integrity",
    "verify_publication",
    "verify_site",
    "with_errata",
    "with_former",
    "write_bundle",
    "write_selection",
]
