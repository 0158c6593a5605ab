"""A binary package of a spec with several, as the templates want it."""

from __future__ import annotations

from dataclasses import dataclass

from builder.render.manifest import Placed


@dataclass(frozen=True, slots=True, kw_only=True)
class BinaryPackage:
    """What stands in one ``%package`` and its ``%files``."""

    name: str
    summary: str
    description: str
    auto: bool = True  # let rpm read sonames from the files
    requires: tuple[str, ...]
    recommends: tuple[str, ...] = ()
    suggests: tuple[str, ...] = ()
    former: tuple[str, ...] = ()  # names that it had before
    folders: tuple[str, ...]  # that it owns
    files: tuple[Placed, ...]
    services: tuple[str, ...] = ()  # units, for presets
