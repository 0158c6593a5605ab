"""What was seen of publications before: the highest number of each place and key, in one small file (ADR 0026)."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from builder.errors import VerifyError
from builder.store.files import os_failure, write_atomic


class Sight(BaseModel):
    """The newest manifest that was seen at a place, signed by a key."""

    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True, frozen=True)

    location: str
    of: str  # <distribution>/<arch>
    key: str  # fingerprint
    sequence: Annotated[int, Field(ge=1)]
    manifest: str  # sha256 of its bytes
    issued: str  # as it says


class _Seen(BaseModel):
    model_config = ConfigDict(defer_build=True, extra="forbid", strict=True)

    schema_: Literal[1] = Field(default=1, alias="schema")
    seen: list[Sight] = []


class SeenFile:
    """The file; it is read and replaced under a lock, so that several may look at once."""

    def __init__(self, path: Path) -> None:
        self.path = path.absolute()

    def newest(self, location: str, keys: Sequence[str]) -> Sight | None:
        """The highest number that any of these keys signed for a place; None for a place never seen.

        Raises VerifyError when the file is damaged: to forget silently is what an attacker would like.
        """
        found = [sight for sight in self._read().seen if sight.location == location and sight.key in keys]
        return max(found, key=lambda sight: sight.sequence, default=None)

    def record(self, sight: Sight) -> None:
        """Remember a manifest unless a newer one of its place and key is known."""
        with self._locked():
            known = self._read().seen
            same = [s for s in known if (s.location, s.key) == (sight.location, sight.key)]
            if all(s.sequence < sight.sequence for s in same):
                self._write([*(s for s in known if s not in same), sight])

    def forget(self, location: str) -> None:
        """Know nothing of a place any more."""
        with self._locked():
            known = self._read().seen
            if any(sight.location == location for sight in known):
                self._write([sight for sight in known if sight.location != location])

    def _read(self) -> _Seen:
        try:
            return _Seen.model_validate_json(self.path.read_bytes())
        except FileNotFoundError:
            return _Seen(schema=1)
        except (ValidationError, OSError) as exc:
            raise VerifyError(
                f"{self.path}: what was seen before cannot be read",
                details=str(exc).splitlines()[:5],
                hint="restore it; to begin anew, move it away",
            ) from exc

    def _write(self, seen: Sequence[Sight]) -> None:
        ordered = sorted(seen, key=lambda sight: (sight.location, sight.key))
        write_atomic(
            self.path, (_Seen(schema=1, seen=ordered).model_dump_json(by_alias=True, indent=1) + "\n").encode()
        )

    @contextmanager
    def _locked(self) -> Iterator[None]:
        try:
            self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            fd = os.open(self.path.with_name(f".{self.path.name}.lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(fd, fcntl.LOCK_EX)
                yield
            finally:
                os.close(fd)
        except OSError as exc:
            raise os_failure(exc, self.path) from exc
