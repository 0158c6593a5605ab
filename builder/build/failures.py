"""From logs to typed failures: dnf's words, rpmbuild's words, full disks."""

from __future__ import annotations

import errno
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

from builder.errors import (
    BuildDependencyError,
    BuildError,
    BuildKilledError,
    BuildrootError,
    DiskFullError,
    RepobuildError,
    RepositoryError,
)
from builder.tools.run import tail

_FULL = re.compile(r"No space left on device|more space needed on|Disk quota exceeded")
_DOWNLOAD = re.compile(
    r"Failed to download metadata|Cannot download|Curl error|Status code: [45]|No URLs in mirrorlist|"
    r"Error downloading"
)
# Downloaded, and refused: this does not pass by itself.
_UNTRUSTED = re.compile(r"GPG check FAILED|[Pp]ublic key for .* is not installed|not signed")
# dnf's summary lines; the rest of its output is progress and repetition.
_MISSING = re.compile(
    r"nothing provides|Unable to find a match|No matching package to install|No match for argument|conflicts with|"
    r"cannot install|is filtered out"
)
_FIRST = re.compile(
    r"(?:^|[\s:])(?:fatal )?error:|^error: |\*\*\* \[|Bailing out!|No such file or directory$|command not found",
    re.IGNORECASE,
)
# What util-linux's unshare says, with exit code 1, when SIGKILL has ended what it started: it wants to end likewise and
# cannot set that signal's handler (sys-utils/unshare.c).
_KILLED = "unshare: sigprocmask unblock failed"
_ROOM = 64 << 10  # bytes: with fewer a log may have lost its last lines
_LAST_LINES = 12
_FIRST_LINES = 3
_SEARCHED = 4000  # lines from the end of a build log: the first error of a parallel make is not far above its end


def dependency_failure(subject: str, log: Path, said: Sequence[str] | None = None) -> RepobuildError:
    """What dnf's log says of build requirements it could not install; ``said``: its words, where a log has more."""
    lines = [line.strip() for line in said or tail(log, 60)]
    full = says_full(lines) or no_room(log)
    if full:
        return disk_full(subject, full, log)
    refused = _not_had(subject, lines, log)
    if refused is not None:
        return refused
    missing = list(dict.fromkeys(line for line in lines if _MISSING.search(line)))
    words = missing or [line for line in lines if line][-_LAST_LINES:]
    return BuildDependencyError(
        f"{subject}: a build requirement cannot be installed: {_said(words)}",
        details=words,
        hint="add the repository that has it to the distribution's buildroot in matrix.yaml",
        log=log,
    )


def _not_had(subject: str, lines: Sequence[str], log: Path) -> RepobuildError | None:
    """The failure of a repository that does not answer, or whose packages are not trusted; None where it is neither."""
    told = [line for line in lines if _DOWNLOAD.search(line) or _UNTRUSTED.search(line)]
    if not told:
        return None
    untrusted = any(_UNTRUSTED.search(line) for line in told)
    return (BuildrootError if untrusted else RepositoryError)(
        f"{subject}: packages of the buildroot's repositories cannot be had",
        details=told,
        hint="check the buildroot's repositories (baseurl, gpgkey) in matrix.yaml, then run again",
        log=log,
    )


def _said(words: Sequence[str]) -> str:
    return words[-1].removeprefix("Error: ") if words else "dnf failed without a word"


def root_failure(subject: str, log: Path, said: Sequence[str] | None = None) -> RepobuildError:
    """What dnf's log says of a base root that could not be made; ``said`` as above."""
    lines = [line.strip() for line in said or tail(log, 60)]
    full = says_full(lines) or no_room(log)
    if full:
        return disk_full(subject, full, log)
    told = [line for line in lines if _DOWNLOAD.search(line) or _UNTRUSTED.search(line) or _MISSING.search(line)]
    words = list(dict.fromkeys(told)) or [line for line in lines if line][-_LAST_LINES:]
    lost = isinstance(_not_had(subject, lines, log), RepositoryError) and not any(_MISSING.search(x) for x in lines)
    return (RepositoryError if lost else BuildrootError)(
        f"{subject}: the base of the buildroot cannot be made: {_said(words)}",
        details=words,
        hint="check the buildroot's repositories and packages in matrix.yaml",
        log=log,
    )


def rpmbuild_failure(subject: str, what: str, log: Path) -> RepobuildError:
    """What a build log says: the first errors, then the last lines."""
    lines = tail(log, _SEARCHED)
    full = says_full(lines[-400:]) or no_room(log)
    if full:
        return disk_full(subject, full, log)
    return BuildError(f"{subject}: {what}{_headline(lines)}", details=evidence(lines), log=log)


def says_full(lines: Sequence[str]) -> list[str]:
    """Those that tell of a full disk."""
    return [line for line in lines if _FULL.search(line)]


def no_room(log: Path) -> list[str]:
    """That the disk of a log is full, none where it is not: then nobody's words found a place in it."""
    try:
        free = shutil.disk_usage(log.parent).free
    except OSError:
        return []
    return [f"{log.parent}: {free} bytes are free"] if free < _ROOM else []


def says_killed(lines: Sequence[str]) -> bool:
    """Whether the last line is unshare's about a SIGKILL."""
    return bool(lines) and _KILLED in lines[-1]


def killed(subject: str, lines: Sequence[str], log: Path) -> BuildKilledError:
    """Somebody, as a rule the kernel, killed what built."""
    return BuildKilledError(
        f"{subject}: the build was killed (SIGKILL)",
        details=lines,
        hint="the kernel's log says whether memory was short (dmesg); if so, run fewer at a time: --jobs",
        log=log,
    )


def is_full(exc: OSError) -> bool:
    """Whether the kernel refused to write for want of space."""
    return exc.errno in (errno.ENOSPC, errno.EDQUOT)


def evidence(lines: Sequence[str]) -> tuple[str, ...]:
    """First error lines and last lines of a build log, each once, in order."""
    first = [n for n, line in enumerate(lines) if _tells(line)][:_FIRST_LINES]
    last = range(max(0, len(lines) - _LAST_LINES), len(lines))
    return tuple(lines[n].strip() for n in sorted({*first, *last}) if lines[n].strip())


def _tells(line: str) -> bool:
    """Is this an error, and not the shell's trace of the command that will print one?"""
    return not line.startswith("+ ") and _FIRST.search(line) is not None


def _headline(lines: Sequence[str]) -> str:
    """The first error of a compiler, else the first of anybody."""
    compiler = (line.strip() for line in lines if re.search(r"[\w/.+-]+:\d+(?::\d+)?: (?:fatal )?error:", line))
    sanity = (line.strip() for line in lines if "Bailing out!" in line)  # what NVIDIA's conftest.sh ends with
    other = (line.strip() for line in lines if _tells(line))
    found = next(compiler, None) or next(sanity, None) or next(other, None)
    return f": {found}" if found else ""


def disk_full(subject: str, words: Sequence[str], log: Path) -> DiskFullError:
    """No space left, in the tool's words."""
    return DiskFullError(
        f"{subject}: no space left on device",
        details=list(dict.fromkeys(words))[:5],
        hint="free space and run again: what was finished is kept",
        log=log,
    )
