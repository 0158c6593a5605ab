"""RPMs that a root was made of, by what its lock says of each: kept in the store, for mirrors drop former versions."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from builder.errors import FetchError
from builder.fetch.download import discard, download
from builder.model.sources import LockedRpm
from builder.store import Store, os_failure, remove_tree
from builder.tools.rpms import file_sha256


def rpm_filename(package: LockedRpm) -> str:
    """The name of an RPM's file at its repository, empty where the lock does not say where it is."""
    return Path(unquote(urlsplit(package.url).path)).name


def fetch_locked(package: LockedRpm, store: Store) -> Path:
    """Path of an RPM's very bytes among the store's sources; fetches them when they are not there yet.

    Raises FetchError when it cannot be had or has other bytes now, UnreachableError when it may be had later.
    """
    filename = rpm_filename(package)
    if not filename or not package.sha256:
        raise FetchError("the lock does not say where it is")
    stored = store.source(package.sha256, filename)
    if stored is not None:
        if file_sha256(stored) == package.sha256:
            return stored
        stored.unlink()  # damaged in the store: fetched again
    folder = store.partial_path(package.url)
    try:
        got = download(package.url, folder)
    except OSError as exc:
        raise os_failure(exc, folder) from exc
    if got.sha256 != package.sha256:
        discard(folder)
        raise FetchError(f"{package.url}: has other bytes than the lock says")
    got.path.chmod(0o644)
    path = store.add_source(got.path, got.sha256, filename)
    remove_tree(folder)
    return path
