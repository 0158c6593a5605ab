"""What a failed call of mock means: its exit code alone does not tell, its logs do (docs/adr/0019-mock-builder.md)."""

from __future__ import annotations

import re
import signal
from pathlib import Path

from builder.build.failures import (
    dependency_failure,
    disk_full,
    evidence,
    no_room,
    root_failure,
    rpmbuild_failure,
    says_full,
    says_killed,
)
from builder.errors import BuildrootError, BuildrootLockedError, RepobuildError
from builder.tools.run import tail

_LOCKED = 60  # and when another mock works in the same root
_SHELL = 128  # what a shell adds to the number of a signal that ended what it ran
_STOPPED = {7: "SIGINT", 143: "SIGTERM"}  # and when somebody else ended it
_SIGNAL = re.compile(r"Received signal (SIG\w+) activating")  # said before a command that it ended makes that 1
_PREFIX = re.compile(r"^[A-Z]+ [\w.]+:\d+:\s+")  # of a line of root.log
_RETURNED = re.compile(r"Child return code was: (-?\d+)")


def failure(subject: str, code: int, state: str, result: Path, log: Path) -> RepobuildError:
    """The failure of a call that built: from state.log how far it came, from the other logs what was said.

    ``result`` has mock's logs, ``log`` is what mock printed. A compiler's error and a full disk are both exit code 1.
    """
    if "Start: rpmbuild " in state:
        return rpmbuild_failure(subject, "the build failed", result / "build.log")
    if "Finish: chroot init" in state:
        return dependency_failure(subject, result / "root.log", _last_words(result / "root.log"))
    return init_failure(subject, code, result / "root.log", log)


def init_failure(subject: str, code: int, root_log: Path, log: Path) -> RepobuildError:
    """The failure of a call that came to no root."""
    if code in (20, 30) and root_log.is_file() and root_log.stat().st_size:
        return root_failure(subject, root_log, _last_words(root_log))
    lines = tail(log, 40)
    if full := says_full((*lines, *tail(root_log, 40))) or no_room(log):  # tar's, when it unpacks the root: exit code 2
        return disk_full(subject, full, root_log)
    said = next((line for line in reversed(lines) if line.startswith("ERROR:")), lines[-1] if lines else "no word")
    kind = BuildrootLockedError if code == _LOCKED else BuildrootError
    return kind(f"{subject}: mock ended with {code}: {said}", details=evidence(lines), log=log)


def was_killed(code: int, log: Path) -> bool:
    """Whether SIGKILL ended mock, the shell around it or their namespace."""
    return code in (-signal.SIGKILL, _SHELL + signal.SIGKILL) or says_killed(tail(log, 1))


def stopped_by(code: int, log: Path) -> str | None:
    """The signal that ended mock, None where none did."""
    if code == 0 or code in _STOPPED:
        return _STOPPED.get(code)
    found = (_SIGNAL.search(line) for line in tail(log, 400))
    return next((match[1] for match in found if match), None)


def _last_words(root_log: Path) -> list[str]:
    """What the last program that failed printed: mock logs each program, its output, its exit code, all prefixed."""
    words: list[str] = []
    block: list[str] = []
    for line in root_log.read_text(errors="replace").splitlines():
        text = _PREFIX.sub("", line)
        if text.startswith("Executing command: "):
            block = []
        elif found := _RETURNED.match(text):
            words = words if found[1] == "0" else block
        else:
            block.append(text)
    return words
