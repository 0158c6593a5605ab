"""Decide what of a work folder may go: what nothing needs and nobody used for a while."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from builder.model.retention import Fate, Kept, Stored, StoredFile

DAY = 86400.0  # seconds


def decide_fates(
    items: Sequence[Stored],
    kept: Mapping[tuple[str, str], Kept],
    *,
    now: float,
    keep_days: float,
    max_size: int | None = None,
) -> tuple[Fate, ...]:
    """A fate for each item, in their order.

    ``kept`` tells by (kind, name) what something refers to. The rest stays while it was used less than ``keep_days``
    ago. With ``max_size`` (bytes) what is kept for its last use alone goes, too, longest unused first, until
    everything together is no larger.
    """
    fates = {(i.kind, i.name): _fate(i, kept.get((i.kind, i.name)), now, keep_days) for i in items}
    if max_size is not None:
        for item in _too_much([f.item for f in fates.values() if f.stays], kept, max_size):
            reason = f"more than is allowed; used {_ago(item.used, now)}, nothing refers to it"
            fates[item.kind, item.name] = Fate(item=item, stays=False, reason=reason, frees=0)
    freed = _freed([f.item for f in fates.values() if not f.stays])
    return tuple(replace(fate, frees=freed.get(identity, 0)) for identity, fate in fates.items())


def _too_much(staying: Sequence[Stored], kept: Mapping[tuple[str, str], Kept], max_size: int) -> Iterator[Stored]:
    """What is kept for its last use alone, longest unused first, until the rest is no larger than ``max_size``."""
    names = Counter(inode for item in staying for inode in {file.inode for file in item.files})
    size = size_of(staying)
    loose = [item for item in staying if (item.kind, item.name) not in kept]
    for item in sorted(loose, key=lambda i: (i.used, i.kind, i.name)):
        if size <= max_size:
            return
        for inode, bytes_ in {file.inode: file.size for file in item.files}.items():
            names[inode] -= 1
            size -= 0 if names[inode] else bytes_
        yield item


def size_of(items: Sequence[Stored]) -> int:
    """Bytes of items, each inode counted once."""
    return sum({file.inode: file.size for item in items for file in item.files}.values())


def _fate(item: Stored, kept: Kept | None, now: float, keep_days: float) -> Fate:
    if kept is not None:
        return Fate(item=item, stays=True, reason=kept.reason, frees=0)
    if item.used > now - keep_days * DAY:
        return Fate(item=item, stays=True, reason=f"used {_ago(item.used, now)}", frees=0)
    return Fate(item=item, stays=False, reason=f"used {_ago(item.used, now)}, nothing refers to it", frees=0)


def _ago(then: float, now: float) -> str:
    days = int(max(0.0, now - then) // DAY)
    return f"{days} day{'s' if days != 1 else ''} ago" if days else "today"


def _freed(going: Sequence[Stored]) -> dict[tuple[str, str], int]:
    """Bytes that each removal frees: an inode counts for the first of them, when all of its names go."""
    names = Counter(file.inode for item in going for file in item.files)
    # Generations that share a file count it as if each had a name of its own, which the other holders do not know.
    links = {f.inode: f.links for f in sorted((f for item in going for f in item.files), key=lambda f: f.links)}
    gone = {inode for inode, number in names.items() if number >= links[inode]}
    counted: set[tuple[int, int]] = set()
    freed: dict[tuple[str, str], int] = {}
    for item in going:
        freed[item.kind, item.name] = sum(_first(file, gone, counted) for file in item.files)
    return freed


def _first(file: StoredFile, gone: Collection[tuple[int, int]], counted: set[tuple[int, int]]) -> int:
    if file.inode in counted or file.inode not in gone:
        return 0
    counted.add(file.inode)
    return file.size
