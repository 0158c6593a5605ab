"""Release serials: which number a package's content has, here and in a store that machines share (ADR 0009, 0023)."""

from __future__ import annotations

from collections.abc import Callable
from threading import RLock

from builder.store.ledger import Ledger
from builder.store.shared import SharedStore

_Newest = tuple[int, str]  # serial, content


def _following(here: _Newest | None, claimed: _Newest | None, content: str) -> int:
    """The serial of a content after these; of two contents for one number the shared store's counts."""
    known = [n for n in (here, claimed) if n is not None]
    newest = max(known, key=lambda n: (n[0], n is claimed), default=None)
    if newest is not None and newest[1] == content:
        return newest[0]
    return (newest[0] if newest else 0) + 1


class Serials:
    """The serials of one work folder. Methods may be called by any thread."""

    def __init__(self, ledger: Ledger, shared: SharedStore | None) -> None:
        self._ledger = ledger
        self._shared = shared
        self._lock = RLock()
        self._claimed: dict[str, _Newest] | None = None  # by scope, of the shared store

    def serial(self, scope: str, content: str) -> int:
        """The serial of a package's content: the newest one's when the content is the same, else the next (first: 1).

        Content that comes back after another gets a new serial too: what is published never gets older. In a shared
        store a serial is claimed first, so that it stands for one content on all machines; a machine that could not
        reach it, and used a number that another one claimed meanwhile, gets a higher one the next time.
        """
        with self._lock:
            while True:
                number = self.peek(scope, content)
                if self._claims().get(scope) != (number, content):
                    stands_for = self._claim(scope, number, content)
                    if stands_for not in (None, content):
                        continue  # another machine was first: its content is known now
                if self._ledger.newest_serial(scope) != (number, content):
                    self._ledger.set_serial(scope, number, content)
                return number

    def peek(self, scope: str, content: str) -> int:
        """The serial that ``serial`` would return; writes nothing."""
        with self._lock:
            return _following(self._ledger.newest_serial(scope), self._claims().get(scope), content)

    def peeker(self) -> Callable[[str, str], int]:
        """``peek`` for many packages, over what the ledger knows now."""
        with self._lock:
            here, claimed = self._ledger.newest_serials(), dict(self._claims())
        return lambda scope, content: _following(here.get(scope), claimed.get(scope), content)

    def share(self, scope: str, serial: int, content: str) -> None:
        """Claim a serial that was used before there was a shared store, or while it was away."""
        with self._lock:
            if self._claims().get(scope, (0, ""))[0] < serial:
                self._claim(scope, serial, content)

    def _claim(self, scope: str, number: int, content: str) -> str | None:
        stands_for = self._shared.claim(scope, number, content) if self._shared is not None else None
        if stands_for is not None:
            self._claims()[scope] = (number, stands_for)
        return stands_for

    def _claims(self) -> dict[str, _Newest]:
        """The newest of each scope; asked for once a run, what was learned before is kept in the ledger."""
        if self._claimed is None:
            self._claimed = {}
            shared = self._shared
            if shared is not None and shared.usable and shared.identity:
                known = self._ledger.claims(shared.identity)
                fresh = shared.claims(set(known))
                if fresh and self._ledger.writes:
                    self._ledger.record_claims(shared.identity, fresh)
                for scope, serial, content in (*known.values(), *(claim for _, claim in fresh)):
                    if serial > self._claimed.get(scope, (0, ""))[0]:
                        self._claimed[scope] = (serial, content)
        return self._claimed
