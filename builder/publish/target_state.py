"""What a target remembers of a distribution × arch: its generations, and since when each is a former one. Pure.

Kept at the target itself, so that any machine can push next. ``until`` decides when a generation's files may go.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

FORMAT = 1
STATES = ".repobuild"  # folder of the states at a target


@dataclass(frozen=True, slots=True, kw_only=True)
class Sent:
    """One generation that a target got, or begins to get."""

    files: Mapping[str, str] = field(
        default_factory=dict
    )  # path → sha256, of files whose names never change their bytes
    until: float | None = None  # seconds since the epoch; None: current, or not switched to yet


@dataclass(frozen=True, slots=True, kw_only=True)
class TargetState:
    """Generations by digest."""

    current: str | None = None
    generations: Mapping[str, Sent] = field(default_factory=dict)

    def begin(self, digest: str, files: Mapping[str, str]) -> TargetState:
        """Before anything is written: what is about to come, so that an interrupted push leaves nothing unknown."""
        return replace(self, generations={**self.generations, digest: Sent(files=files)})

    def switched(self, digest: str, now: float) -> TargetState:
        """After the switch: every other generation is a former one from now on, unless it was already."""
        rows = {
            name: replace(sent, until=None if name == digest else now if sent.until is None else sent.until)
            for name, sent in self.generations.items()
        }
        return TargetState(current=digest, generations=rows)

    def expired(self, now: float, keep: float) -> tuple[str, ...]:
        """Generations that were former ones for longer than ``keep`` seconds."""
        return tuple(
            sorted(
                digest
                for digest, sent in self.generations.items()
                if digest != self.current and sent.until is not None and sent.until + keep < now
            )
        )

    def without(self, digests: tuple[str, ...]) -> TargetState:
        """What stays."""
        return replace(self, generations={d: s for d, s in self.generations.items() if d not in digests})

    def removable(self, digests: tuple[str, ...]) -> tuple[str, ...]:
        """Files that only these generations have."""
        kept = {path for d, sent in self.generations.items() if d not in digests for path in sent.files}
        return tuple(sorted({path for d in digests for path in self.generations[d].files} - kept))


def state_name(distribution: str, arch: str) -> str:
    """Where the state lies, relative to the target."""
    return f"{STATES}/{distribution}-{arch}.json"


def write_state(state: TargetState) -> bytes:
    """As JSON."""
    rows = {
        digest: {"until": sent.until, "files": dict(sorted(sent.files.items()))}
        for digest, sent in sorted(state.generations.items())
    }
    document = {"format": FORMAT, "current": state.current, "generations": rows}
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def read_state(data: bytes | None) -> TargetState:
    """The state, an empty one where there is none; raises ValueError when it is none of ours."""
    if data is None:
        return TargetState()
    try:
        document = json.loads(data)
        if document["format"] != FORMAT:
            raise ValueError(f"is of version {document['format']}, this repobuild knows {FORMAT}")
        current = document["current"]
        return TargetState(
            current=None if current is None else str(current),
            generations={
                str(digest): Sent(
                    files={str(path): str(sha256) for path, sha256 in row["files"].items()},
                    until=None if row["until"] is None else float(row["until"]),
                )
                for digest, row in document["generations"].items()
            },
        )
    except (KeyError, TypeError, AttributeError) as exc:
        raise ValueError(f"is no state of a target: {exc!r}") from exc
