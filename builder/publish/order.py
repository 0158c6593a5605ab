"""In which order the files of a publication go to a place without a rename for all of them, and how long caches keep
them. Pure: this is the one place that knows what a file's name says about it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import IntEnum

_DIGEST_NAMED = re.compile(r"(^|/)repodata/[0-9a-f]{64}-[^/]+$")
_PACKAGE = re.compile(r"(^|/)(Packages|SRPMS)/.+\.rpm$")
LOGS = "logs"
_LOG = re.compile(rf"{LOGS}/[0-9a-f]{{10}}\.log")  # at the top of a repository, as pipeline.site names them
_IMMUTABLE = "public, max-age=31536000, immutable"
_SHORT = "public, max-age=60, must-revalidate"


class Role(IntEnum):
    """What a file is to a client, in the order in which files become visible."""

    PACKAGE = 0  # named by NEVRA; its name never stands for other bytes
    METADATA = 1  # named by its digest
    LOG = 2  # named by pages
    PAGE = 3  # for people and programs beside dnf
    SIGNATURE = 4  # of the next
    REPOMD = 5  # names all metadata: what a client asks for first
    RECORD = 6  # what this publication is: read by `verify` and by the next push


_RECORD = re.compile(
    r"publication\.json|(publication|site)-manifest\..+"
)  # a manifest's signature is named by its digest


def role_of(path: str) -> Role:
    """The role of a file by its path inside a publication, or inside the repository above it."""
    name = path.rsplit("/", 1)[-1]
    if _PACKAGE.search(path):
        return Role.PACKAGE
    if _DIGEST_NAMED.search(path):
        return Role.METADATA
    if _LOG.fullmatch(path):
        return Role.LOG
    if name == "repomd.xml.asc":
        return Role.SIGNATURE
    if name == "repomd.xml":
        return Role.REPOMD
    return Role.RECORD if _RECORD.fullmatch(name) else Role.PAGE


def is_immutable(path: str) -> bool:
    """Whether a name stands for the same bytes for ever."""
    return role_of(path) in (Role.PACKAGE, Role.METADATA)


def upload_order(paths: Iterable[str]) -> tuple[str, ...]:
    """Paths in the order in which they may be written: whatever a file names is there before it.

    repomd.xml stands right behind its own signature, tree by tree; a signed record right behind its signature.
    """
    return tuple(sorted(paths, key=_place))


def _place(path: str) -> tuple[int, str, bool, str]:
    role = role_of(path)
    pair = path.removesuffix(".asc") if role in (Role.SIGNATURE, Role.REPOMD, Role.RECORD) else ""
    step = Role.REPOMD if role is Role.SIGNATURE else role
    pair = f"{'-manifest.' in path}{pair}" if role is Role.RECORD else pair  # it names the record: last
    return step, pair, not path.endswith(".asc"), path


def cache_control(path: str) -> str:
    """The Cache-Control header of a file."""
    return _IMMUTABLE if is_immutable(path) else _SHORT
