"""Source packages: the same spec and sources give the same SRPM, byte for byte."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from builder.errors import RenderError, ToolError, ToolMissingError
from builder.model.matrix import Distribution
from builder.model.sources import SourceFile, SpecFile
from builder.tools.rpmbuild import build_source, reproducible_macros

# gzip is what EL7's rpm reads; level 0 (stored) because the sources inside are compressed already: 1.0 s against 4.6 s
# at level 1 for a source of 119 MB.
_PAYLOAD = "w0.gzdio"


def make_srpm(spec: SpecFile, folder: Path, *, dist: Distribution, source_date_epoch: int) -> Path:
    """Make an SRPM below ``folder`` with the host's rpmbuild and return its path.

    Raises RenderError with rpm's words where it cannot parse the spec, DiskFullError, ToolMissingError.
    """
    work = folder / "srpm"
    sources = work / "sources"
    sources.mkdir(parents=True)
    text = work / spec.filename
    text.write_text(spec.text)
    os.utime(text, (source_date_epoch, source_date_epoch))
    for source in spec.sources:
        _place(source, sources / source.filename, source_date_epoch)
    macros = {**reproducible_macros(), "_source_payload": _PAYLOAD, "dist": dist.dist_tag}
    try:
        build_source(spec.filename, work, macros=macros, source_date_epoch=source_date_epoch)
    except ToolMissingError:
        raise
    except ToolError as exc:
        raise RenderError(f"{spec.filename}: rpmbuild cannot make a source package of it", details=exc.details) from exc
    found = list(work.glob("*.src.rpm"))
    if len(found) != 1:
        raise RenderError(f"{spec.filename}: rpmbuild made {len(found)} source packages")
    return found[0]


def _place(source: SourceFile, target: Path, epoch: int) -> None:
    """Link a source; one older than the epoch is copied and dated, because rpm clamps times only downwards."""
    if source.path.stat().st_mtime >= epoch:
        target.symlink_to(source.path)
    else:
        shutil.copyfile(source.path, target)
        os.utime(target, (epoch, epoch))
