"""The fixture ``site`` of the tests of the levels install, boot and secureboot: they name this file as their plugin."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.qualify.roots import make_install_root
from tests.lab.distro import LabDistro
from tests.need import need
from tests.once import session_folder
from tests.tools import building
from tests.tools.qualifying import (
    Site,
    compile_light,
    lab_cell,
    make_key,
    make_kmod,
    signed,
    unpack_devel,
)


@pytest.fixture(scope="session")
def site(lab: LabDistro, tmp_path_factory: pytest.TempPathFactory) -> Site:
    """The cloud kernel, which boots quickest, with the light driver 535."""
    need("bsdtar", "make", "gcc-12", "kmod")
    top = session_folder(tmp_path_factory, "qualifying")
    version = "535.261.03"
    cloud = next(k for k in lab.kernels if k.variant == "cloud")
    other = next(k for k in reversed(lab.kernels) if k.variant == "generic")
    cell = lab_cell(lab, cloud, version)
    key = make_key("repobuild tests")
    devel = unpack_devel(lab, cloud, top / "devel")
    devel_of_other = unpack_devel(lab, other, top / "devel-of-other")
    modules = signed(compile_light(version, devel, cloud.compiler_command, top / "source"), key)
    chroot = building.lab_chroot(lab)
    rpm = make_kmod(cell, modules, top / "kmod")
    return Site(
        cell=cell,
        chroot=chroot,
        modules=modules,
        lies=signed(compile_light(version, devel, cloud.compiler_command, top / "lies", edit=_lie), key),
        foreign=signed(compile_light(version, devel_of_other, other.compiler_command, top / "foreign"), key),
        key=key,
        rpm=rpm,
        installed=make_install_root(
            chroot, cell.kernel, [rpm], top / "root", log=top / "install.log", timeout=600, cache=top / "dnf"
        ),
        cache=top / "dnf",
    )


def _lie(tree: Path) -> None:
    """All of another layout; nvidia and the stub of peermem answer as the real ones do here, modeset panics."""
    _replace(tree / "common/inc/nv-light.h", "const char *version;", "const char *version; long layout_of_another;")
    _replace(tree / "nvidia/nv.c", "return 0;", 'pr_err("NVRM: No NVIDIA GPU found.\\n"); return -ENODEV;')
    _replace(tree / "nvidia-peermem/peermem.c", "nvidia_light_get_ops()->version", '""')
    _replace(tree / "nvidia-peermem/peermem.c", "return 0;", "return -EINVAL;")
    _replace(tree / "nvidia-modeset/modeset.c", "nvidia_light_get_ops()->version != NULL", "1")
    _replace(tree / "nvidia-modeset/modeset.c", "return 0;", 'panic("a module that panics");')


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert old in text
    path.write_text(text.replace(old, new))
