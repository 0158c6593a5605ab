"""What a kernel brings over a buildroot is part of its cells' keys: each package of it, and nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.matrix import Chroot, Compiler, Kernel, PackageRef, RepositoryRef
from builder.model.nevra import Evr
from builder.model.sources import Buildroot, KernelDevel
from builder.pipeline.kernels import find_kernel_devel, read_kernel_devel, requirements_digest
from builder.store import Store
from builder.tools.dnf import Dnf
from builder.tools.repomd import repository_state
from builder.tools.run import run
from tests.golden import sample
from tests.lab.distro import LabDistro
from tests.tools import building
from tests.tools.publishing import make_rpms


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with Store.open(tmp_path / "work") as store:
        yield store


@pytest.fixture
def kernel(distro: LabDistro) -> Kernel:
    lab = distro.kernels[0]
    return replace(
        sample.K503,
        release=lab.release,
        devel=PackageRef(name=lab.devel.name, evr=Evr.parse(lab.devel.evr)),
        devel_path=lab.devel_path,
        compiler=Compiler(package="gcc-12", command="gcc-12"),
    )


def test_a_key_changes_with_a_build_requirement_and_not_with_other_packages(
    distro: LabDistro, kernel: Kernel, store: Store, tmp_path: Path
) -> None:
    more = tmp_path / "more"
    chroot = building.lab_chroot(distro, RepositoryRef(id="more", baseurl=str(more), gpgcheck=False))
    chroot = replace(chroot, packages=tuple(p for p in chroot.packages if p != "patch"))
    lab = Dnf(building.lab_chroot(distro, packages=chroot.packages), tmp_path / "dnf")
    packages = tuple(f"{p.nevra} 0" for p in lab.solve(chroot.packages, timeout=120))

    def read(*rpms: tuple[str, str, str, str]) -> KernelDevel:
        make_rpms(more, rpms)
        run(["createrepo_c", "-q", more], timeout=60)
        return read_kernel_devel(kernel, base(chroot, packages, tmp_path), store)

    first = read(("patch", "0", "98", "1"), ("other", "0", "1", "1"))
    (only,) = first.requirements
    assert only.nevra == "patch-98-1.x86_64"
    assert only.url == f"file://{more}/rpmbuild/RPMS/x86_64/patch-98-1.x86_64.rpm"
    assert find_kernel_devel(kernel, base(chroot, packages, tmp_path), store) == first
    second = read(("other", "0", "2", "1"))
    assert requirements_digest(second) == requirements_digest(first)
    third = read(("patch", "0", "99", "1"))
    assert [p.nevra for p in third.requirements] == ["patch-99-1.x86_64"]
    assert requirements_digest(third) != requirements_digest(first)


def test_what_cannot_be_installed_is_left_to_who_builds_and_a_kernel_is_read_all_the_same(
    distro: LabDistro, kernel: Kernel, store: Store, tmp_path: Path
) -> None:
    """That a compiler is another than the kernel's is a better word than that there is none of that name."""
    missing = replace(kernel, compiler=Compiler(package="nosuch-gcc", command="gcc"))
    root = base(building.lab_chroot(distro), (), tmp_path)
    devel = read_kernel_devel(missing, root, store)
    assert (devel.requirements, devel.root) == ((), None)
    assert devel.compiler_text == read_kernel_devel(kernel, root, store).compiler_text


def base(chroot: Chroot, packages: tuple[str, ...], folder: Path) -> Buildroot:
    """A buildroot as the repositories are now; nothing of it is looked at but what is said here."""
    return Buildroot(
        chroot=chroot, identity="base", packages=packages, path=folder, repositories=repository_state(chroot)
    )
