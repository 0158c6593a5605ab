"""Buildroots that the store keeps, one a chroot, builder and state of its repositories."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path

from builder.build.job import PACKAGES
from builder.errors import BuildrootError, RepositoryError, ToolError
from builder.model.matrix import Chroot
from builder.model.sources import Buildroot
from builder.store import Store
from builder.tools.repomd import is_local, repository_state

INDEX = "root.json"


def write_root(folder: Path, chroot: Chroot, builder: str, packages: tuple[str, ...], state: str) -> None:
    """Describe the root in ``folder``: what is in it, whose it is, the state of the repositories it came from."""
    (folder / PACKAGES).write_text("".join(f"{line}\n" for line in packages))
    (folder / INDEX).write_text(json.dumps({"chroot": chroot.name, "builder": builder, "state": state}))


class Roots:
    """The kept roots of one builder."""

    def __init__(self, store: Store, builder: str, place: str, key: Callable[[Chroot, str], str]) -> None:
        """``place``: which part of a kept folder builds start from; ``key`` names a root by chroot and state."""
        self._store = store
        self._builder = builder
        self._place = place
        self._key = key

    def find(self, chroot: Chroot) -> Buildroot | None:
        """The root of the repositories' present state, None where there is none or they cannot be read."""
        try:
            state = repository_state(chroot)
        except ToolError:
            return None
        folder = self._store.folder("roots", self._key(chroot, state))
        return None if folder is None else self._read(chroot, folder, state)

    def get(self, chroot: Chroot, fill: Callable[[Path, str], None]) -> Buildroot:
        """As ``find``; ``fill`` makes a folder of that state where there is none. Roots of earlier states are removed.

        Raises RepositoryError when the repositories do not answer or change meanwhile, BuildrootError where local ones
        are not there, and what ``fill`` raises.
        """
        try:
            state = repository_state(chroot)
        except ToolError as exc:
            kind = BuildrootError if is_local(chroot) else RepositoryError
            raise kind(f"{chroot.name}: {exc.message}", hint=exc.hint) from exc
        key = self._key(chroot, state)

        def make(folder: Path) -> None:
            fill(folder, state)
            if json.loads((folder / INDEX).read_text())["state"] != state:
                raise RepositoryError(
                    f"{chroot.name}: a repository changed while the base of the buildroot was made", hint="run again"
                )

        folder = self._store.folder("roots", key) or self._store.put_folder("roots", key, make)
        self._remove_older(chroot, folder)
        return self._read(chroot, folder, state)

    def _remove_older(self, chroot: Chroot, current: Path) -> None:
        for folder in sorted(current.parent.iterdir()):
            index = folder / INDEX
            if folder == current or not index.is_file():
                continue
            known = json.loads(index.read_text())
            # A root without a builder's name is an earlier version's chroot builder's.
            if (known["chroot"], known.get("builder", "chroot")) == (chroot.name, self._builder):
                self._store.remove_folder("roots", folder.name)

    def _read(self, chroot: Chroot, folder: Path, state: str) -> Buildroot:
        text = (folder / PACKAGES).read_text()
        return Buildroot(
            chroot=chroot,
            identity=hashlib.sha256(text.encode()).hexdigest(),
            packages=tuple(text.splitlines()),
            path=folder / self._place,
            repositories=state,
        )
