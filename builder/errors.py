"""Every failure a user can see. Each class owns an exit code and a stable code (docs/user-guide.md lists them).

Raise with the subject first ("r535-open@6.1.0-50-amd64: …" or "matrix.yaml:12: …"), then what failed; evidence goes
into ``details``, the next step into ``hint``, the place of the whole log into ``log``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar


class RepobuildError(Exception):
    """Base of all failures shown to users; ``exit_code`` and ``code`` are unique for each class."""

    exit_code: ClassVar[int] = 1
    code: ClassVar[str] = "error"
    # Does a run try the same action again by itself, after a pause? Only what passes without anybody doing something.
    retryable: ClassVar[bool] = False

    def __init__(
        self,
        message: str,
        *,
        details: Sequence[str] = (),
        hint: str | None = None,
        log: Path | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.details = tuple(details)
        self.hint = hint
        self.log = log
        self.retry_after: float | None = None  # seconds that a server asked to wait
        self.reported = False  # its document was printed already: one a run


@dataclass(frozen=True, slots=True, kw_only=True)
class Mistake:
    """One mistake in a file of the user: where, what stands there, what is allowed."""

    file: str  # as the user named it
    line: int  # 1-based; 0 when the file as a whole is meant
    message: str  # offending value, what is allowed, a suggestion when one is near

    def __str__(self) -> str:
        return f"{self.file}:{self.line}: {self.message}"


class ConfigError(RepobuildError):
    """matrix.yaml, streams/*.yaml or matrix.lock.yaml are wrong; carries all mistakes of the file set."""

    exit_code = 3
    code = "config"

    def __init__(self, mistakes: Sequence[Mistake], *, hint: str | None = None) -> None:
        self.mistakes = tuple(sorted(mistakes, key=lambda m: (m.file, m.line, m.message)))
        n = len(self.mistakes)
        super().__init__(
            f"{n} mistake{'s' if n != 1 else ''} in the configuration",
            details=[str(m) for m in self.mistakes],
            hint=hint,
        )


class SelectionError(RepobuildError):
    """--select/--skip match nothing, or a named cell does not exist."""

    exit_code = 4
    code = "selection"


class StalePlanError(RepobuildError):
    """A saved plan no longer fits: something that determines its keys has changed since."""

    exit_code = 8
    code = "stale-plan"


class ToolError(RepobuildError):
    """An external program failed, with its exit code and last lines."""

    exit_code = 5
    code = "tool"
    signal: int = 0  # that ended it; 0: it ended by itself
    returncode: int = 0  # the program's; negative where a signal ended it


class ToolMissingError(ToolError):
    """An external program that this verb needs is not installed."""

    exit_code = 6
    code = "tool-missing"


class ToolTimeoutError(ToolError):
    """An external program ran longer than allowed and was killed with its children."""

    exit_code = 7
    code = "tool-timeout"


class FetchError(RepobuildError):
    """A source cannot be fetched (network, HTTP status, missing file)."""

    exit_code = 10
    code = "fetch"


class PinMissingError(FetchError):
    """A source has no pin in matrix.lock.yaml; ``repobuild pin`` makes one."""

    exit_code = 11
    code = "pin-missing"


class PinMismatchError(FetchError):
    """Fetched bytes are not the pinned ones."""

    exit_code = 12
    code = "pin-mismatch"


class UnreachableError(FetchError):
    """A server does not answer, breaks off or asks to come again; what was fetched so far is kept."""

    exit_code = 14
    code = "unreachable"
    retryable = True


class SourceError(RepobuildError):
    """A driver archive is truncated, not a driver, or not the version it should be."""

    exit_code = 13
    code = "source"


class RenderError(RepobuildError):
    """A template misses a value or yields a spec that rpm cannot parse."""

    exit_code = 15
    code = "render"


class BuildError(RepobuildError):
    """A build failed in %prep, %build, %install (the compiler's words are in details)."""

    exit_code = 20
    code = "build"


class BuildDependencyError(BuildError):
    """A build requirement cannot be installed into the buildroot."""

    exit_code = 21
    code = "build-dependency"


class BuildTimeoutError(BuildError):
    """A cell was not done when its time was up; every process of it was killed."""

    exit_code = 22
    code = "build-timeout"


class DiskFullError(RepobuildError):
    """No space left on a device, or less than a run needs; nothing half-written was kept."""

    exit_code = 23
    code = "disk-full"


class BuildrootError(BuildError):
    """The base of a buildroot cannot be made (no privilege, base packages missing)."""

    exit_code = 24
    code = "buildroot"


class RepositoryError(BuildrootError):
    """A repository of the buildroot does not answer, or lacks what its metadata name: a lost mirror."""

    exit_code = 25
    code = "repository"
    retryable = True


class BuildrootLockedError(BuildrootError):
    """Somebody else holds the lock of the buildroot (mock's exit code 60)."""

    exit_code = 26
    code = "buildroot-locked"
    retryable = True


class BuildKilledError(BuildError):
    """A build was killed by somebody else: the kernel, where memory is short, or an admin."""

    exit_code = 27
    code = "build-killed"
    retryable = True


class QualifyError(RepobuildError):
    """A built artifact is not what it must be; its verdicts are in details."""

    exit_code = 30
    code = "qualify"


class SignError(RepobuildError):
    """A signature cannot be made or does not verify with the public key."""

    exit_code = 40
    code = "sign"


class PublishError(RepobuildError):
    """A publication cannot be made; the current one is untouched."""

    exit_code = 50
    code = "publish"


class VerifyError(RepobuildError):
    """A publication is not whole as a client sees it; every fault is in details."""

    exit_code = 51
    code = "verify"


class TargetError(RepobuildError):
    """A publication cannot be sent to a target; its clients see the publication that they saw before."""

    exit_code = 52
    code = "target"


class BundleError(RepobuildError):
    """A bundle cannot be made, or is damaged, foreign or incomplete; nothing was placed."""

    exit_code = 53
    code = "bundle"


class UntrustedError(VerifyError):
    """Something of a publication is not signed, or not by a key that was given."""

    exit_code = 55
    code = "untrusted"


class RolledBackError(VerifyError):
    """A publication is older than one that was seen at the same place before, or another of the same number."""

    exit_code = 56
    code = "rolled-back"


class MixedError(VerifyError):
    """Parts of several publications, each signed, stand at one place."""

    exit_code = 57
    code = "mixed"


class ContentsError(VerifyError):
    """Files of a publication are missing or cut off, or lie there though its manifest does not list them."""

    exit_code = 58
    code = "contents"


class ExpiredError(VerifyError):
    """Nobody has vouched lately for this still being the newest publication."""

    exit_code = 59
    code = "expired"


class StoreError(RepobuildError):
    """The store or its ledger is damaged or of another version."""

    exit_code = 60
    code = "store"


class LockedError(RepobuildError):
    """Another repobuild works in the same work folder."""

    exit_code = 61
    code = "locked"


class SharedStoreError(RepobuildError):
    """The shared store of --store is none, lacks what it must have, or was required and cannot be reached."""

    exit_code = 62
    code = "shared-store"


class WorkersError(RepobuildError):
    """Dask's workers cannot be used: none fits, or another repobuild runs there, or what they answer makes no sense."""

    exit_code = 63
    code = "workers"


class SchedulerLostError(WorkersError):
    """Dask's scheduler cannot be reached, or was lost; what was finished is kept."""

    exit_code = 64
    code = "scheduler"


class PartialFailureError(RepobuildError):
    """Some cells failed, were held back or are blocked; what could be published was."""

    exit_code = 70
    code = "partial"


class InterruptedRunError(RepobuildError):
    """Ctrl-C or SIGTERM: what was finished is kept, the next run goes on from there."""

    exit_code = 130
    code = "interrupted"
