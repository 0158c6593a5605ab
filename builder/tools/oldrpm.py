"""What rpm 4.11, that of EL7, does not understand of an RPM. It cannot be run here, so its own lists are compared."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from builder.errors import ToolError
from builder.tools.run import run

_TIMEOUT = 300.0  # seconds
# What ``rpm --showrc`` of EL7 (4.11.3) lists as "Features supported by rpmlib"; of others it refuses a package.
_KNOWN = frozenset(
    {
        "BuiltinLuaScripts",
        "CompressedFileNames",
        "ConcurrentAccess",
        "ExplicitPackageProvide",
        "FileCaps",
        "FileDigests",
        "HeaderLoadSortsTags",
        "PartialHardlinkSets",
        "PayloadFilesHavePrefix",
        "PayloadIsBzip2",
        "PayloadIsLzma",
        "PayloadIsXz",
        "ScriptletExpansion",
        "ScriptletInterpreterArgs",
        "TildeInVersions",
        "VersionedDependencies",
    }
)
# Tags of later versions, which it would pass over in silence: what they are for would not happen.
_LATER = {
    "RECOMMENDNAME": "Recommends",
    "SUGGESTNAME": "Suggests",
    "SUPPLEMENTNAME": "Supplements",
    "ENHANCENAME": "Enhances",
    "FILETRIGGERNAME": "a file trigger on",
    "TRANSFILETRIGGERNAME": "a file trigger on",
}
_COMPRESSORS = ("gzip", "bzip2", "lzma", "xz")
_DIGESTS = ("1", "2", "8", "9", "10")  # md5, sha1, sha256, sha384, sha512
_RELATIONS = ("REQUIRE", "PROVIDE", "CONFLICT", "OBSOLETE")
_FORMAT = "".join(
    (
        "file %{NAME}-%{VERSION}-%{RELEASE}\\n",
        "payload %{PAYLOADCOMPRESSOR} %{FILEDIGESTALGO}\\n",
        *(f"[relation %{{{kind}NAME}}\\n]" for kind in _RELATIONS),
        *(f"[{tag} %{{{tag}}}\\n]" for tag in _LATER),
    )
)
_FEATURE = re.compile(r"rpmlib\((.*)\)")


def old_rpm_faults(rpms: Sequence[Path]) -> Iterator[tuple[Path, str]]:
    """Each RPM with what rpm 4.11 would not read, or not do, of it; in the order given.

    Raises ToolError for a file that is no RPM.
    """
    if not rpms:
        return
    done = run(["rpm", "-qp", "--nosignature", "--qf", _FORMAT, *rpms], timeout=_TIMEOUT)
    at = -1
    for line in done.stdout.splitlines():
        kind, _, text = line.partition(" ")
        at += kind == "file"
        if not 0 <= at < len(rpms):
            raise ToolError(f"rpm -qp said {line!r} of {len(rpms)} files")
        fault = judge(kind, text)
        if fault:
            yield rpms[at], fault
    if at + 1 != len(rpms):
        raise ToolError(f"rpm -qp told of {at + 1} files, {len(rpms)} were given")


def judge(kind: str, text: str) -> str | None:
    """What is wrong with one line of the query above: a relation, a payload, or a tag of later versions."""
    if kind in _LATER:
        return f"{_LATER[kind]} {text}"
    if kind == "relation":
        feature = _FEATURE.fullmatch(text)
        if feature and feature[1] not in _KNOWN:
            return f"needs rpm's {feature[1]}"
        return f"the boolean dependency {text}" if text.startswith("(") else None
    if kind == "payload":
        compressor, digest = text.split()
        if compressor not in _COMPRESSORS:
            return f"a payload compressed with {compressor}"
        if digest not in (*_DIGESTS, "(none)"):
            return f"digests of kind {digest}"
    return None
