"""What two publications of a distribution × arch differ in, and which hosts notice. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

OFFERED = ("published", "dkms")


@dataclass(frozen=True, slots=True, kw_only=True)
class Published:
    """What is compared of a publication."""

    digest: str
    packages: Mapping[str, str]  # NEVRA → sha256 of the RPM
    support: Mapping[str, Any]  # its support matrix; empty where it has none


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """From an older publication to a newer one, everything sorted."""

    old: str  # digests
    new: str
    added: tuple[str, ...] = ()  # NEVRAs of packages
    removed: tuple[str, ...] = ()
    rewritten: tuple[str, ...] = ()  # the same NEVRA with other bytes: another key, or a fault
    streams_added: tuple[str, ...] = ()
    streams_removed: tuple[str, ...] = ()
    kernels_added: tuple[str, ...] = ()  # uname -r
    kernels_removed: tuple[str, ...] = ()
    hosts: tuple[str, ...] = ()  # who notices what, a sentence each

    def document(self) -> dict[str, Any]:
        """As JSON."""
        return {
            "old": self.old,
            "new": self.new,
            "packages": {"added": self.added, "removed": self.removed, "rewritten": self.rewritten},
            "streams": {"added": self.streams_added, "removed": self.streams_removed},
            "kernels": {"added": self.kernels_added, "removed": self.kernels_removed},
            "hosts": self.hosts,
        }

    def lines(self) -> list[str]:
        """For people: hosts first, one line a fact; a single one when nothing differs."""
        rows = (
            *self.hosts,
            *(f"+ stream {name}" for name in self.streams_added),
            *(f"- stream {name}" for name in self.streams_removed),
            *(f"+ kernel {name}" for name in self.kernels_added),
            *(f"- kernel {name}" for name in self.kernels_removed),
            *(f"+ {name}" for name in self.added),
            *(f"- {name}" for name in self.removed),
            *(f"! {name}: other bytes under the same name" for name in self.rewritten),
        )
        return [f"{self.old[:12]} -> {self.new[:12]}", *(rows or ("nothing differs for hosts",))]


def difference(old: Published, new: Published) -> Difference:
    """What becomes of hosts when ``new`` takes the place of ``old``."""
    streams = [{s["name"]: s for s in side.support.get("streams", ()) if s["drivers"]} for side in (old, new)]
    kernels = [{k["release"]: k for k in side.support.get("kernels", ())} for side in (old, new)]
    both = old.packages.keys() & new.packages.keys()
    return Difference(
        old=old.digest,
        new=new.digest,
        added=tuple(sorted(new.packages.keys() - old.packages.keys())),
        removed=tuple(sorted(old.packages.keys() - new.packages.keys())),
        rewritten=tuple(sorted(name for name in both if old.packages[name] != new.packages[name])),
        streams_added=tuple(sorted(streams[1].keys() - streams[0].keys())),
        streams_removed=tuple(sorted(streams[0].keys() - streams[1].keys())),
        kernels_added=tuple(sorted(kernels[1].keys() - kernels[0].keys())),
        kernels_removed=tuple(sorted(kernels[0].keys() - kernels[1].keys())),
        hosts=tuple(_hosts(*streams, *kernels)),
    )


def _hosts(
    old: Mapping[str, Mapping[str, Any]],
    new: Mapping[str, Mapping[str, Any]],
    old_kernels: Mapping[str, Mapping[str, Any]],
    new_kernels: Mapping[str, Mapping[str, Any]],
) -> Iterator[str]:
    was, now = _default(old), _default(new)
    if was != now:
        yield f"new hosts: the default stream is {now or 'none'}, it was {was or 'none'}"
    for name in sorted(old):
        if name not in new:
            yield f"hosts on {name}: the stream is gone; they keep what they have and get no more updates"
            continue
        before, after = old[name]["drivers"][-1], new[name]["drivers"][-1]
        if before != after:
            yield f"hosts on {name}: driver {before} -> {after}"
        for profile in sorted(set(old[name].get("profiles", ())) - set(new[name].get("profiles", ()))):
            yield f"hosts on {name}: profile {profile} is gone"
        yield from _kernels(name, old_kernels, new_kernels)


def _kernels(name: str, old: Mapping[str, Mapping[str, Any]], new: Mapping[str, Mapping[str, Any]]) -> Iterator[str]:
    for release in sorted(old.keys() | new.keys()):
        before, after = _offer(old, release, name), _offer(new, release, name)
        if after["state"] in OFFERED and before["state"] not in OFFERED:
            yield f"hosts on {name}: kernel {release} can be installed now"
        elif before["state"] in OFFERED and after["state"] not in OFFERED:
            yield f"hosts on {name}: kernel {release} has no module any more: {after['reason'] or after['state']}"


def _offer(kernels: Mapping[str, Mapping[str, Any]], release: str, stream: str) -> Mapping[str, Any]:
    none = {"state": "none", "reason": "not in the matrix"}
    found: Mapping[str, Any] = kernels.get(release, {}).get("streams", {}).get(stream, none)
    return found


def _default(streams: Mapping[str, Mapping[str, Any]]) -> str | None:
    return next((name for name, stream in streams.items() if stream["default"]), None)
