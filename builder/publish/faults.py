"""What is wrong with a publication, and of which kind: the worst kind decides the exit code. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Self

from builder.errors import (
    ContentsError,
    ExpiredError,
    MixedError,
    RolledBackError,
    UntrustedError,
    VerifyError,
)

# The first of them that occurs names the failure: what nobody vouches for makes all else hearsay.
WORST_FIRST: tuple[type[VerifyError], ...] = (
    UntrustedError,
    RolledBackError,
    MixedError,
    VerifyError,
    ContentsError,
    ExpiredError,
)
_HINTS: dict[type[VerifyError], str] = {
    UntrustedError: "take nothing from there; compare the key with the one that its owner names elsewhere",
    RolledBackError: "ask who publishes it: `repobuild rollback` with the key gives an older publication a new number; "
    "--forget, where it was made anew on purpose",
    MixedError: "a mirror that is being synchronized looks like this: look again when it is done",
    ContentsError: "copy it again from where it was published",
    ExpiredError: "the publisher renews it with `repobuild publish`; a mirror has to fetch it again",
}


class Fault(str):
    """One sentence that begins with what it is about, and its kind."""

    __slots__ = ("kind",)

    kind: type[VerifyError]

    def __new__(cls, text: str, kind: type[VerifyError] = VerifyError) -> Self:
        """A sentence of a kind."""
        fault = super().__new__(cls, text)
        fault.kind = kind
        return fault


def kind_of(fault: str) -> type[VerifyError]:
    """The kind of a fault; a bare sentence is of the general one."""
    return fault.kind if isinstance(fault, Fault) else VerifyError


def within(folder: str, fault: str) -> Fault:
    """A fault of a part, as one of the whole."""
    return Fault(f"{folder}/{fault}", kind_of(fault))


def verify_error(name: str, faults: Iterable[str]) -> VerifyError:
    """The failure that these faults of a publication make: of the worst kind, the worst first."""
    kept = dict.fromkeys(faults)
    ordered = sorted(kept, key=lambda fault: WORST_FIRST.index(kind_of(fault)))
    worst = kind_of(ordered[0])
    more = f" (and {len(ordered) - 1} more)" if len(ordered) > 1 else ""
    default = "do not serve this repository; repobuild rollback makes an earlier generation current"
    return worst(f"{name}: {ordered[0]}{more}", details=ordered, hint=_HINTS.get(worst, default))
