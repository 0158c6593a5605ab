"""What is reused in a row is told together: of thousands of cells a person wants to know how many."""

from __future__ import annotations

from dataclasses import replace

from builder.pipeline.events import Event


class Together:
    """Events on their way to a person; to be used under a lock."""

    def __init__(self) -> None:
        self._reused: list[Event] = []

    def take(self, event: Event) -> list[Event]:
        """What is to be told now that this happened, in order."""
        if event.state == "reused":
            self._reused.append(event)
            return []
        return [*self.rest(), event]

    def rest(self) -> list[Event]:
        """What was not told yet: one event for all."""
        known, self._reused = self._reused, []
        if len(known) < 2:
            return known
        return [replace(known[0], subject=f"{known[0].subject} and {len(known) - 1} more")]
