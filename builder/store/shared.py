"""A store that several machines share: finished objects and release serials; each machine keeps copies of its own.

Nothing here decides what is built: a shared store that cannot be reached is a slower run, unless it was required.
"""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable
from pathlib import Path
from threading import RLock
from typing import TypeVar

from builder.errors import SharedStoreError, StoreError
from builder.store.objects import FORMAT, SharedFile, describe_folder, fault_of, read_description, write_description
from builder.store.places import Place, PlaceError

SHARED = (
    "results",
    "modules",
    "trees",
    "worksets",  # what workers compile cells of a driver from
    "failures",  # logs of what failed on them
)
_PASSING = ("modules", "failures")  # taken by a run, which keeps copies that last, soon after a worker gave them
MARKER = "repobuild-store.json"
_ENOUGH = 3  # failures in a row after which a run goes on without
T = TypeVar("T")
_Claim = tuple[str, int, str]  # scope, serial, content


class SharedStore:
    """One shared store, as a run sees it. Methods may be called by any thread."""

    def __init__(
        self, place: Place, url: str, warn: Callable[[str], None], *, required: bool = False, exchange: bool = True
    ) -> None:
        """``warn`` takes a line for people; ``required`` makes failures SharedStoreError instead; without ``exchange``
        nothing is taken or given, it only says what there is.
        """
        self.url = url
        self.identity: str | None = None  # of the store behind the URL; None while it was not reached
        self.given = self.taken = 0  # objects
        self._place = place
        self._warn = warn
        self._required = required
        self._exchange = exchange
        self._failures = 0
        self._off = False
        self._lock = RLock()
        self._index: dict[str, set[str]] = {}  # kind → keys
        self._damaged: set[tuple[str, str]] = set()

    @property
    def usable(self) -> bool:
        """It was reached, and did not fail too often since."""
        return self.identity is not None and not self._off

    def connect(self, *, make: bool) -> None:
        """Reach the store; ``make`` one where there is none yet. Without it such a place is an empty store.

        Raises SharedStoreError for a store of another version, a storage without conditional writes, and when the
        store is required and cannot be reached.
        """
        self._try("reach it", None, lambda: self._connect(make=make))
        if self.identity is None:
            self._off = True

    def _connect(self, *, make: bool) -> None:
        data = self._place.read(MARKER)
        if data is None and make:
            document = json.dumps({"format": FORMAT, "id": uuid.uuid4().hex}).encode()
            if self._place.create(MARKER, document) and self._place.create(MARKER, document):
                raise SharedStoreError(
                    f"{self.url}: this storage ignores conditional writes, so two machines could use one serial",
                    hint="use a storage that knows If-None-Match (AWS S3, recent MinIO and Ceph), or a shared folder",
                )
            data = self._place.read(MARKER)
        try:
            marker = json.loads(data) if data is not None else {"format": FORMAT, "id": ""}
            version, identity = marker["format"], str(marker["id"])
        except (ValueError, KeyError, TypeError) as exc:
            raise SharedStoreError(f"{self.url}: its {MARKER} is damaged: {exc}", hint="restore it") from exc
        if version != FORMAT:
            raise SharedStoreError(
                f"{self.url}: a shared store of version {version}, this repobuild reads version {FORMAT}",
                hint="use the repobuild that wrote it, or another --store",
            )
        self.identity = identity

    def has(self, kind: str, key: str) -> bool:
        """Is there such an object, as far as is known? Asks once a run what there is."""
        if kind not in SHARED or not self.usable:
            return False
        with self._lock:
            if kind not in self._index:
                nothing: frozenset[str] = frozenset()
                found = self._try(f"list {kind}", nothing, lambda: self._place.names(f"objects/{kind}"))
                self._index[kind] = {name.removesuffix(".json") for name in found}
            return key in self._index[kind]

    def take(self, kind: str, key: str, folder: Path, *, anew: bool = False) -> bool:
        """Fill ``folder`` with an object, every byte compared with its description; False when that cannot be had.

        A damaged object is told and never looked at again; giving it anew replaces it. ``anew``: another machine did
        that just now, so look at it whatever it was. Raises DiskFullError.
        """
        if not self._exchange or kind not in SHARED or not self.usable:
            return False
        if anew:
            with self._lock:
                self._damaged.discard((kind, key))
        if (kind, key) in self._damaged:
            return False
        try:
            taken = self._try(f"take {kind} {key[:12]}", False, lambda: self._take(kind, key, folder))
        except StoreError as exc:
            self.damaged(kind, key, exc.message)
            return False
        if taken:
            with self._lock:
                self.taken += 1
        else:
            self._forget(kind, key)
        return taken

    def _take(self, kind: str, key: str, folder: Path) -> bool:
        data = self._place.read(_description(kind, key))
        if data is None:
            return False
        for file in read_description(data, kind, key):
            target = folder / file.path
            target.parent.mkdir(parents=True, exist_ok=True)
            if not self._place.fetch(file.data, target):
                raise StoreError(f"{file.path}: its bytes are gone")
            fault = fault_of(target, file)
            if fault is not None:
                raise StoreError(fault)
            target.chmod(0o755 if file.executable else 0o644)
        return True

    def damaged(self, kind: str, key: str, fault: str) -> None:
        """Tell that an object is not what it must be; it is not used again and will be replaced."""
        with self._lock:
            self._damaged.add((kind, key))
        self._forget(kind, key)
        self._warn(f"{kind} {key[:12]} is damaged in the shared store and not used: {fault}")

    def _forget(self, kind: str, key: str) -> None:
        with self._lock:
            self._index.get(kind, set()).discard(key)

    def give(self, kind: str, key: str, folder: Path, *, anew: bool = False) -> None:
        """Keep a finished folder there, too; what another machine gave before stays, unless it is damaged.

        ``anew``: this replaces it, as somebody asked for it again who could have taken it.
        """
        if not self._exchange or kind not in SHARED or not self.usable:
            return
        try:
            files = describe_folder(folder)
        except OSError as exc:
            self._warn(f"cannot give {kind} {key[:12]}: {exc}")
            return
        if files is not None:
            self._try(f"give {kind} {key[:12]}", None, lambda: self._give(kind, key, folder, files, anew=anew))

    def _give(self, kind: str, key: str, folder: Path, files: tuple[SharedFile, ...], *, anew: bool) -> None:
        damaged = anew or (kind, key) in self._damaged
        # What a power cut leaves of bytes that were not synced is found by their sha256 and made again.
        synced = kind not in _PASSING
        name = _description(kind, key)
        if not damaged and (there := self._place.read(name)) is not None:
            self._compare(kind, key, there, files)
            return
        for file in files:
            if damaged or self._place.size(file.data) != file.size:
                self._place.put(folder / file.path, file.data, synced=synced)
        description = write_description(kind, key, files)
        if damaged:
            self._place.put(description, name, synced=synced)
        elif not self._place.create(name, description, lasting=False):  # an object that is gone is made again
            self._compare(kind, key, self._place.read(name) or b"", files)
            return
        with self._lock:
            self.given += 1
            self._damaged.discard((kind, key))
            self._index.get(kind, set()).add(key)

    def _compare(self, kind: str, key: str, there: bytes, files: tuple[SharedFile, ...]) -> None:
        """Two machines built one key: what is published of it must be the same (logs differ)."""
        try:
            theirs = {f.path: f.sha256 for f in read_description(there, kind, key)}
        except StoreError as exc:
            self.damaged(kind, key, exc.message)
            return
        for file in files:
            if file.path.endswith(".rpm") and theirs.get(file.path) != file.sha256:
                self._warn(f"{file.path}: another machine built other bytes of the same key {key[:12]}; both are kept")

    def claims(self, known: set[str]) -> list[tuple[str, _Claim]]:
        """(name, claim) of every serial in use but those whose name is ``known`` already."""

        def read() -> list[tuple[str, _Claim]]:
            names = [n for n in self._place.names("serials") if n not in known]
            found = self._place.read_all([f"serials/{name}" for name in names])
            return [(name, claim) for name, data in found.items() if (claim := _claim(data)) is not None]

        return self._try("read serials", [], read) if self.usable else []

    def claim(self, scope: str, serial: int, content: str) -> str | None:
        """Let a serial of a scope stand for a content; returns which one it stands for then, None out of reach."""
        if not self.usable:
            return None
        name = f"serials/{folder_of(scope)}/{serial}"
        data = json.dumps({"scope": scope, "serial": serial, "content": content}).encode()

        def make() -> str | None:
            if self._place.create(name, data):
                return content
            found = _claim(self._place.read(name) or b"")
            if found is None:
                raise PlaceError(f"{name}: damaged")
            return found[2]

        return self._try(f"claim serial {serial} of {scope}", None, make)

    def _try(self, what: str, otherwise: T, action: Callable[[], T]) -> T:
        try:
            done = action()
        except PlaceError as exc:
            if self._required:
                raise SharedStoreError(
                    f"{self.url}: cannot {what}: {exc}", hint="without --store-required the run goes on without it"
                ) from exc
            with self._lock:
                self._failures += 1
                off = self._failures == _ENOUGH or self.identity is None
                self._off = self._off or off
            self._warn(f"cannot {what}: {exc}{'; this run goes on without it' if off else ''}")
            return otherwise
        self._failures = 0
        return done


def folder_of(scope: str) -> str:
    """The folder of a scope's serials."""
    return hashlib.sha256(scope.encode()).hexdigest()[:32]


def _description(kind: str, key: str) -> str:
    return f"objects/{kind}/{key}.json"


def _claim(data: bytes) -> _Claim | None:
    try:
        document = json.loads(data)
        return str(document["scope"]), int(document["serial"]), str(document["content"])
    except (ValueError, KeyError, TypeError):
        return None
