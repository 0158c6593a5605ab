"""Record the digests of really fetched sources in matrix.lock.yaml."""

from __future__ import annotations

from functools import partial

from builder.config import write_lock
from builder.errors import PinMismatchError, RepobuildError
from builder.fetch import pin_source
from builder.model.matrix import Lock, Pin, Source
from builder.pipeline.attempts import try_again
from builder.pipeline.configure import configure
from builder.pipeline.events import Event, Listener
from builder.pipeline.settings import Settings
from builder.pipeline.workers import run_all
from builder.pipeline.workshop import archive_source
from builder.store import Store


def pin_sources(settings: Settings, listener: Listener) -> tuple[Pin, ...]:
    """Fetch every source of the selected cells and write the lock.

    Each source that could be fetched is pinned even when another fails; then the first failure is raised. Bytes
    that differ from an existing pin raise PinMismatchError and leave that pin as it is.
    """
    configuration = configure(settings)
    wanted: dict[str, Source] = {}
    for unit in configuration.units:
        if unit.id in configuration.selected:
            beside = (unit.driver.open_source, archive_source(unit))
            for source in (unit.driver.run_source(unit.arch), *(s for s in beside if s is not None)):
                wanted[source.url] = source
    with Store.open(settings.work) as store:

        def task(source: Source) -> Pin:
            listener(Event(stage="pin", subject=source.filename, state="started", text=source.url))
            pin = try_again(
                partial(pin_source, source, store),
                store=store,
                listener=listener,
                stage="pin",
                subject=source.filename,
                retries=settings.retries,
            )
            old = configuration.lock.pin(source.url)
            if old is not None and old.sha256 != pin.sha256:
                raise PinMismatchError(
                    f"{source.url}: pinned as {old.sha256}, fetched {pin.sha256}",
                    hint=f"if the vendor replaced the file on purpose, remove its pin from {settings.lock_path.name}",
                )
            listener(Event(stage="pin", subject=source.filename, state="done", text=f"sha256 {pin.sha256[:16]}…"))
            return pin

        tasks = {url: partial(task, source) for url, source in wanted.items()}
        found = run_all(tasks, workers=settings.workers)
    pins = {p.url: p for p in configuration.lock.pins}
    made = [pin for pin in found.values() if isinstance(pin, Pin)]
    pins.update({pin.url: pin for pin in made})
    write_lock(settings.lock_path, Lock(pins=tuple(sorted(pins.values(), key=lambda p: p.url))))
    failures = [error for error in found.values() if isinstance(error, RepobuildError)]
    if failures:
        failures[0].details = (*failures[0].details, *(f.message for f in failures[1:]))
        raise failures[0]
    return tuple(made)
