"""Unpack NVIDIA's self-extracting installer (``.run``: a shell script with an archive behind it, made by makeself)."""

from __future__ import annotations

import os
import shutil
import stat
from pathlib import Path

from builder.errors import ToolError
from builder.tools.confine import confined, confined_folder
from builder.tools.run import run

_TIMEOUT = 900.0  # seconds
_TOP = "extracted"


def extract_runfile(archive: Path, folder: Path) -> Path:
    """Unpack with the archive's own ``--extract-only`` below an empty folder; returns the archive's top folder.

    The script is foreign code: as root it runs confined (builder.tools.confine). Raises ToolError with the archive's
    own words, ToolTimeoutError, DiskFullError.
    """
    place = folder / "driver.run"
    try:
        if not archive.stat().st_mode & stat.S_IROTH:
            raise PermissionError  # a link would keep the mode that nobody cannot read
        os.link(archive, place)
    except OSError:  # another filesystem
        shutil.copyfile(archive, place)
        place.chmod(0o644)
    inside = confined_folder(folder)
    program = ["sh", "driver.run", "--extract-only", "--target", f"{inside}/{_TOP}"]
    run(confined(program, folder), cwd=folder, timeout=_TIMEOUT, env={"TMPDIR": str(inside), "HOME": str(inside)})
    top = folder / _TOP
    if top.is_symlink() or not top.is_dir():
        raise ToolError(f"{archive.name}: unpacked nothing")
    return top
