"""A store that machines share: results are taken before a run decides, and what it finished is given."""

from __future__ import annotations

from functools import partial

from builder.model.cells import Action, Decision
from builder.pipeline.events import Event, Listener
from builder.pipeline.settings import Settings
from builder.pipeline.workers import run_all
from builder.pipeline.workshop import Workshop
from builder.store import SharedStore, open_place

_AT_ONCE = 8  # results taken at the same time: mostly waiting


def open_shared(settings: Settings, listener: Listener, *, exchange: bool) -> SharedStore | None:
    """The shared store of the settings, reached or given up with a warning; None where they name none.

    Raises SharedStoreError, see SharedStore.connect.
    """
    if settings.store is None:
        return None
    url = settings.store

    def warn(text: str) -> None:
        listener(Event(stage="share", subject=url, state="warning", text=text))

    place = open_place(url)
    shared = SharedStore(place, url, warn, required=settings.store_required, exchange=exchange)
    shared.connect(make=exchange)
    return shared


def take_shared(shop: Workshop, actions: tuple[Action, ...]) -> tuple[Action, ...] | None:
    """Take the results that are to be reused and lie in the shared store only; None when one could not be had whole.

    Then it is planned again: what was lost is built.
    """
    store = shop.store
    keys = {a.key for a in actions if a.decision is Decision.REUSE and a.key and not store.here("results", a.key)}
    if not keys or store.shared is None:
        return actions
    shop.tell("share", store.shared.url, "started", f"{len(keys)} results")
    taken = run_all({key: partial(store.folder, "results", key) for key in sorted(keys)}, workers=_AT_ONCE)
    whole = sum(path is not None and not isinstance(path, Exception) for path in taken.values())
    for error in taken.values():
        if isinstance(error, Exception):
            raise error
    shop.tell("share", store.shared.url, "done", f"{whole} of {len(keys)} results taken")
    return actions if whole == len(keys) else None


def give_shared(shop: Workshop) -> None:
    """Give what this run used and the shared store lacks, and say what went either way."""
    shared = shop.store.shared
    if shared is None:
        return
    shop.store.give_used()
    if shared.taken or shared.given:
        shop.tell("share", shared.url, "done", f"{shared.taken} objects taken, {shared.given} given")
