"""Sources against their pins: nothing unpinned goes into a build."""

from __future__ import annotations

from pathlib import Path

from builder.errors import FetchError, PinMismatchError, PinMissingError
from builder.fetch.download import Downloaded, Progress, discard, download
from builder.model.matrix import Lock, Pin, Source
from builder.store import Store, os_failure
from builder.tools.rpms import file_sha256


def fetch_source(
    source: Source,
    lock: Lock,
    store: Store,
    *,
    progress: Progress | None = None,
) -> Path:
    """Path of a source's pinned bytes in the store; fetches them when they are not there yet.

    Raises PinMissingError before anything is fetched, PinMismatchError when what is there has another digest or
    size (the bytes are thrown away), FetchError when it cannot be had, UnreachableError when it may be had later.
    """
    pin = lock.pin(source.url)
    if pin is None:
        raise PinMissingError(
            f"{source.url}: no pin in matrix.lock.yaml, and nothing unpinned goes into a build",
            hint="run: repobuild pin --select '<cells of this driver>'",
        )
    stored = store.source(pin.sha256, source.filename)
    if stored is not None:
        if stored.stat().st_size == pin.size and file_sha256(stored) == pin.sha256:
            return stored
        stored.unlink()  # damaged in the store: fetched again
    got = _download(source, store, progress)
    if got.resumed and not _is_pinned(got, pin):
        # The halves of a resumed file may be of two files where a server's validator lies: one fresh try decides.
        discard(store.partial_path(source.url))
        got = _download(source, store, progress)
    if not _is_pinned(got, pin):
        discard(store.partial_path(source.url))
        raise PinMismatchError(
            f"{source.url}: these are not the pinned bytes: sha256 {got.sha256[:12]}…, pinned {pin.sha256[:12]}…",
            details=(
                f"pinned: sha256 {pin.sha256}, {pin.size} bytes",
                f"fetched: sha256 {got.sha256}, {got.size} bytes",
            ),
            hint="if the vendor replaced the file on purpose, remove its pin and run: repobuild pin",
        )
    return _keep(got, source, store)


def pin_source(
    source: Source,
    store: Store,
    *,
    progress: Progress | None = None,
) -> Pin:
    """Fetch a source, keep its bytes in the store and return what a lock file says of them."""
    got = _download(source, store, progress)
    if got.size == 0:
        discard(store.partial_path(source.url))
        raise FetchError(f"{source.url}: the file is empty", hint="check the url in matrix.yaml")
    _keep(got, source, store)
    return Pin(url=source.url, sha256=got.sha256, size=got.size)


def _download(source: Source, store: Store, progress: Progress | None) -> Downloaded:
    folder = store.partial_path(source.url)
    try:
        return download(source.url, folder, progress=progress)
    except OSError as exc:
        raise os_failure(exc, folder) from exc


def _is_pinned(got: Downloaded, pin: Pin) -> bool:
    return got.sha256 == pin.sha256 and got.size == pin.size


def _keep(got: Downloaded, source: Source, store: Store) -> Path:
    got.path.chmod(0o644)
    path = store.add_source(got.path, got.sha256, source.filename)
    discard(store.partial_path(source.url))
    return path
