"""Qualification of the packages around a driver finds planted faults in really built RPMs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from builder.model.cells import Artifact, PackageKind, Unit, Verdict
from builder.model.matrix import Flavor
from builder.model.sources import SpecFile
from builder.qualify import qualify_packages
from builder.render import (
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_driver,
    render_gate,
    render_open_meta,
)
from tests.golden import sample
from tests.need import need
from tests.tools.fake_trees import fake_modules, write_kernel_tree, write_tarball
from tests.tools.rpm_building import build

DRIVER, COMPAT32 = sample.unit(PackageKind.DRIVER), sample.unit(PackageKind.COMPAT32)


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmbuild")


def driver_packages(tmp_path: Path, edit: Callable[[str], str] = lambda text: text) -> list[Artifact]:
    sources = sample.sources(folder=tmp_path)
    files = {e.path: f"{e.path}\n" for e in sources.manifest if e.target is None}
    write_tarball(sources.userspace.path, f"nvidia-driver-{sample.D535.version}", files)
    return built(render_driver(DRIVER, sources, sample.MATRIX), tmp_path, edit)


def built(spec: SpecFile, tmp_path: Path, edit: Callable[[str], str] = lambda text: text) -> list[Artifact]:
    return build(SpecFile(filename=spec.filename, text=edit(spec.text), sources=spec.sources), tmp_path / "top")


def failed(result: Verdict) -> dict[str, tuple[str, ...]]:
    return {c.name: c.evidence for c in result.checks if c.outcome == "failed"}


def verdict(unit: Unit, artifacts: list[Artifact]) -> Verdict:
    return qualify_packages(unit, artifacts, sample.MATRIX)


def test_the_packages_of_a_driver_pass(tmp_path: Path) -> None:
    result = verdict(DRIVER, driver_packages(tmp_path))
    assert failed(result) == {}
    assert [c.name for c in result.checks] == ["nevra", "files", "twice", "dependencies"]


def compat32_packages(tmp_path: Path, edit: Callable[[str], str] = lambda text: text) -> list[Artifact]:
    tmp_path.mkdir()
    sources = sample.sources(folder=tmp_path)
    files = {e.path: f"{e.path}\n" for e in sources.manifest if e.target is None}
    write_tarball(sources.userspace.path, f"nvidia-driver-{sample.D535.version}", files)
    spec = render_compat32(COMPAT32, sources, sample.MATRIX)
    changed = SpecFile(filename=spec.filename, text=edit(spec.text), sources=spec.sources)
    return build(changed, tmp_path / "top", target="i686")


def test_32_bit_packages_pass_and_one_with_a_64_bit_folder_or_a_need_of_modules_fails(tmp_path: Path) -> None:
    assert failed(verdict(COMPAT32, compat32_packages(tmp_path / "good"))) == {}
    moved = compat32_packages(
        tmp_path / "moved", lambda t: t.replace("/usr/lib/libcuda.so.5", "/usr/lib64/libcuda.so.5")
    )
    assert "/usr/lib64/libcuda.so.535.261.03 does not belong here" in failed(verdict(COMPAT32, moved))["files"][0]
    first = "Requires:       (nvidia-driver-cuda-libs"
    hard = compat32_packages(tmp_path / "hard", lambda t: t.replace(first, f"Requires: nvidia-kmod-common\n{first}"))
    assert "requires nvidia-kmod-common" in failed(verdict(COMPAT32, hard))["dependencies"][0]


def test_gates_metas_and_dkms_sources_pass(tmp_path: Path) -> None:
    sources = sample.sources(folder=tmp_path)
    tree = write_kernel_tree(fake_modules(sample.D535, "x"))
    write_tarball(sources.kernel_tree(Flavor.OPEN).path, "nvidia-kmod-535.261.03-open", tree)
    gate = sample.gate()
    dkms = sample.unit(PackageKind.DKMS, flavor=Flavor.OPEN)
    cuda, meta = sample.unit(PackageKind.CUDA_DRIVERS), sample.unit(PackageKind.OPEN_META)
    for unit, spec in {
        gate: render_gate(gate, sample.gate_kernels(sample.K503), 1, sample.MATRIX),
        dkms: render_dkms(dkms, sources, sample.MATRIX),
        cuda: render_cuda_drivers(cuda, sample.MATRIX),
        meta: render_open_meta(meta, sample.MATRIX),
    }.items():
        assert failed(verdict(unit, built(spec, tmp_path))) == {}


def test_a_user_space_package_with_a_kernel_module_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        text = text.replace("%install\n", "%install\ninstall -D LICENSE %{buildroot}/lib/modules/x/nvidia.ko\n", 1)
        return text.replace("%files -n nvidia-driver\n", "%files -n nvidia-driver\n/lib/modules/x/nvidia.ko\n")

    found = failed(verdict(DRIVER, driver_packages(tmp_path, edit)))
    assert found == {"files": ("nvidia-driver: /lib/modules/x/nvidia.ko does not belong here",)}


def test_a_file_in_two_packages_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return text.replace("%files -n nvidia-driver\n", "%files -n nvidia-driver\n/usr/bin/nvidia-smi\n")

    found = failed(verdict(DRIVER, driver_packages(tmp_path, edit)))
    assert found == {"twice": ("/usr/bin/nvidia-smi is in nvidia-driver and nvidia-driver-cuda",)}


def test_cuda_libraries_that_require_a_kernel_module_fail(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        package = "%package -n nvidia-driver-cuda-libs\n"
        return text.replace(package, f"{package}Requires: nvidia-kmod-common = 3:535.261.03\n")

    found = failed(verdict(DRIVER, driver_packages(tmp_path, edit)))
    assert found == {"dependencies": ("nvidia-driver-cuda-libs requires nvidia-kmod-common = 3:535.261.03",)}


def test_a_driver_that_lets_in_any_gate_fails(tmp_path: Path) -> None:
    def edit(text: str) -> str:
        return text.replace("nvidia-kmod-common = 3:535.261.03", "nvidia-kmod-common", 1)

    found = failed(verdict(DRIVER, driver_packages(tmp_path, edit)))
    assert found == {"dependencies": ("nvidia-driver lacks nvidia-kmod-common = 3:535.261.03",)}


def test_a_missing_main_package_fails(tmp_path: Path) -> None:
    artifacts = [a for a in driver_packages(tmp_path) if a.nevra.name != "nvidia-driver"]
    assert "nvidia-driver-3:535.261.03-1.el9.x86_64 is missing" in failed(verdict(DRIVER, artifacts))["nevra"][0]


def test_a_package_of_another_release_than_planned_fails(tmp_path: Path) -> None:
    artifacts = built(render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS), sample.MATRIX, serial=2), tmp_path)
    found = failed(verdict(sample.unit(PackageKind.CUDA_DRIVERS), artifacts))
    assert found["nevra"][0].startswith("unexpected package cuda-drivers-3:535.261.03-2.el9.x86_64")


def test_the_same_package_twice_fails(tmp_path: Path) -> None:
    unit = sample.unit(PackageKind.CUDA_DRIVERS)
    artifacts = built(render_cuda_drivers(unit, sample.MATRIX), tmp_path)
    assert "is there 2 times" in failed(verdict(unit, artifacts * 2))["nevra"][0]
