"""What every builder does: SRPM and chroot description in, resultdir out, failures typed."""

from __future__ import annotations

from typing import Protocol

from builder.model.matrix import Chroot
from builder.model.sources import BuildRequest, Buildroot

# Of the builders that make a root of its own for each build: the same SRPM gives the same bytes in all of them, which
# tests hold them to (docs/adr/0019-mock-builder.md), so what the one built is the other's to reuse.
RECIPE = "buildroot 1"


class Builder(Protocol):
    """One way to build packages. Methods may be called from several threads at once."""

    @property
    def name(self) -> str:
        """As on the command line."""

    @property
    def recipe(self) -> str:
        """Names this builder's way of calling rpmbuild; changes whenever the same SRPM could give other bytes."""

    def find(self, chroot: Chroot) -> Buildroot | None:
        """The buildroot that ``prepare`` would return, None where it would have to make or refresh one."""

    def prepare(self, chroot: Chroot) -> Buildroot:
        """Make the buildroot or take the one that is there, when the repositories have not changed since.

        Raises BuildrootError, DiskFullError, ToolMissingError.
        """

    def build(self, request: BuildRequest) -> None:
        """Build; on return the resultdir holds the RPMs, the SRPM, build.log, root.log, state.log, installed_pkgs.log.

        Raises BuildError (compiler's words), BuildDependencyError (dnf's words), BuildTimeoutError, BuildrootError,
        DiskFullError, InterruptedRunError; the logs stay in the resultdir, RPMs do not.
        """
