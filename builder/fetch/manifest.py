"""The ``.manifest`` of a driver archive.

Format: ``parse_manifest()`` and ``packageEntryFileTypeTable`` of nvidia-installer (install-from-cwd.c, manifest.c;
read at 430.40 to 590.48.01). Eight lines of header (description, version, then kernel module names on the fourth),
then one entry a line: path, octal mode, type, and by type an architecture (NATIVE, COMPAT32), a TLS class (CLASSIC,
NEW: until 435), a folder, ``INHERIT_PATH_DEPTH:n``, a symlink target. ``MODULE:name`` may stand among them.
An unknown type is kept: whether it can be packaged is not this parser's business.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from builder.errors import SourceError
from builder.model.sources import ManifestEntry

HEADER_LINES = 8
_ARCHES = frozenset({"NATIVE", "COMPAT32"})
_TLS_CLASSES = frozenset({"CLASSIC", "NEW"})
_INHERIT = "INHERIT_PATH_DEPTH:"
_MODULE = "MODULE:"


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """A whole manifest, kernel trees included."""

    description: str
    version: str
    kernel_modules: tuple[str, ...]
    entries: tuple[ManifestEntry, ...]  # in file order


def parse_manifest(text: str, where: str) -> Manifest:
    """Read a manifest; ``where`` names the archive in errors. Raises SourceError with the line that is wrong."""
    lines = text.splitlines()
    if len(lines) < HEADER_LINES:
        raise SourceError(f"{where}: .manifest ends after {len(lines)} lines; its header alone has {HEADER_LINES}")
    entries = []
    for number, line in enumerate(lines[HEADER_LINES:], HEADER_LINES + 1):
        if not line.strip():
            break  # as nvidia-installer: an empty line ends the list
        entry = _entry(line.split())
        if entry is None:
            raise SourceError(f"{where}: .manifest line {number} is not an entry", details=[line])
        entries.append(entry)
    return Manifest(
        description=lines[0].strip(),
        version=lines[1].strip(),
        kernel_modules=tuple(lines[3].split()),
        entries=tuple(entries),
    )


def is_symlink(entry_type: str) -> bool:
    """Whether entries of that type are symlinks that the installer makes; the archive carries no file for them."""
    return entry_type.endswith("_SYMLINK") or entry_type == "XMODULE_NEWSYM"


def _entry(words: list[str]) -> ManifestEntry | None:
    if len(words) < 3 or not words[1] or not set(words[1]) <= set("01234567"):
        return None
    path, mode, kind, *rest = words
    relative = path.removeprefix("./")
    if relative.startswith("/") or ".." in PurePosixPath(relative).parts:
        return None
    module = next((w.removeprefix(_MODULE) for w in rest if w.startswith(_MODULE)), None)
    depth = next((w.removeprefix(_INHERIT) for w in rest if w.startswith(_INHERIT)), None)
    if depth is not None and not depth.isdigit():
        return None
    rest = [w for w in rest if not w.startswith((_MODULE, _INHERIT))]
    arch = rest.pop(0) if rest and rest[0] in _ARCHES else None
    if rest and rest[0] in _TLS_CLASSES:
        rest.pop(0)
    target = rest.pop() if is_symlink(kind) and rest else None
    if is_symlink(kind) and target is None:
        return None
    destination = rest[0] if rest else None
    if depth is not None:
        parents = PurePosixPath(relative).parent.parts[int(depth) :]
        destination = "/".join(parents) or "./"
    return ManifestEntry(
        path=relative,
        mode=int(mode, 8),
        type=kind,
        arch=arch,
        destination=destination,
        target=target,
        module=module,
    )
