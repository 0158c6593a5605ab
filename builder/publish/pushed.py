"""What came of sending a publication to a target."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from builder.errors import TargetError


@dataclass(frozen=True, slots=True, kw_only=True)
class Pushed:
    """One distribution × arch at one target."""

    target: str
    distribution: str
    arch: str
    digest: str
    changed: bool  # False: it was current there already
    kept_files: int  # of former generations, for clients in flight
    removed: int  # generations whose time was over

    def document(self) -> dict[str, object]:
        """For programs."""
        return asdict(self)

    def line(self) -> str:
        """For people."""
        what = f"is {self.digest[:12]} now" if self.changed else f"is {self.digest[:12]} already"
        more = f", {self.removed} old generations removed" if self.removed else ""
        return f"{self.distribution}/{self.arch} at {self.target} {what}{more}"


def refuse_other_bytes(target: str, faults: Iterable[str]) -> None:
    """Raise TargetError where a file name would stand for other bytes."""
    found = list(faults)
    if found:
        raise TargetError(
            f"{target}: {found[0]}",
            details=found,
            hint="nothing was sent: mirrors and caches keep files by name; push to another target",
        )
