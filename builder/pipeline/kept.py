"""What follows from other bytes alone and takes long to make: the newest of each place is kept in the work folder."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from importlib.metadata import version

from builder.pipeline.orders import identity
from builder.store import Derived

_PAGE = "page"
_DIGITS = 64  # of the digest that stands before a page


def kept_page(derived: Derived | None, place: str, document: bytes, make: Callable[[], bytes]) -> bytes:
    """The page of a document: the one kept for ``place`` where this very program made it of the same document.

    Without ``derived`` it is made.
    """
    if derived is None:
        return make()
    digest = hashlib.sha256(f"{identity()} {version('jinja2')} ".encode() + document).hexdigest().encode()
    known = derived.get(_PAGE, [place]).get(place, b"")
    if known[:_DIGITS] == digest:
        return known[_DIGITS:]
    page = make()
    derived.put(_PAGE, {place: digest + page})
    return page
