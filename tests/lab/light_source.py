"""A source release of the stand-in driver's open modules, with the layout and targets of NVIDIA's own."""

from __future__ import annotations

import tarfile
import tempfile
from dataclasses import replace
from pathlib import Path

from tests.lab.light import SOURCES, _kernel_tree, _substitute
from tests.lab.runfile import LabDriver

_MAKEFILE = Path(__file__).parent / "light-source/Makefile"
_BLOBS = (("nvidia", "nv-kernel"), ("nvidia-modeset", "nv-modeset-kernel"))


def with_source(driver: LabDriver, folder: Path) -> LabDriver:
    """The driver with a source release written into ``folder``; its objects say where they come from."""
    name = f"NVIDIA-kernel-module-source-{driver.version}"
    with tempfile.TemporaryDirectory() as tmp:
        top = Path(tmp) / name
        (Path(tmp) / "work").mkdir()
        _kernel_tree(top / "kernel-open", driver.version, "open", "", Path(tmp) / "work")
        for module, blob in _BLOBS:
            (top / "kernel-open" / module / f"{blob}.o_binary").unlink()
            source = top / "src" / module / f"{blob}.c"
            source.parent.mkdir(parents=True)
            _substitute(SOURCES / f"blob/{blob}.c", source, VERSION=driver.version, FLAVOR="built from source")
        (top / "version.mk").write_text(f"NVIDIA_VERSION = {driver.version}\n")
        (top / "Makefile").write_text(_MAKEFILE.read_text())
        folder.mkdir(parents=True, exist_ok=True)
        path = folder / f"{name}.tar.xz"
        with tarfile.open(path, "w:xz") as archive:
            archive.add(top, name)
    return replace(driver, source=path)
