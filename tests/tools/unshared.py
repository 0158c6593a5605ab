"""Repositories as versions without pools made them: each generation has its packages in folders of its own."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from builder.publish.pool import TOPS
from builder.publish.tree_files import own_files


def unshare(generation: Path) -> None:
    """Give a generation hard links of its own instead of those to a pool."""
    packages = {name: path.resolve() for name, path in own_files(generation) if name.startswith(TOPS)}
    for top in TOPS:
        (generation / top).unlink()
    for name, path in packages.items():
        (generation / name).parent.mkdir(parents=True, exist_ok=True)
        os.link(path, generation / name)


def forget_pools(repo: Path) -> None:
    """Where no generation needs one any more."""
    shutil.rmtree(repo / ".pool")


def copy_generation(generation: Path, target: Path) -> None:
    """One publication alone, as a target has it: links within it stay links, packages are there themselves."""
    shutil.copytree(generation, target, symlinks=True)
    for top in TOPS:
        if (target / top).is_symlink():
            (target / top).unlink()
            shutil.copytree(generation / top, target / top)
