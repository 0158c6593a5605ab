"""Real rpm reads and builds every spec that is rendered."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Flavor, Kernel, Kmods
from builder.model.naming import kmod_nevra, package_nevra, package_nevras
from builder.render import (
    render_cuda_drivers,
    render_dkms,
    render_driver,
    render_gate,
    render_kmod,
    render_open_meta,
)
from builder.tools.run import run
from tests.golden import sample
from tests.golden.rendered import SPECS
from tests.need import need
from tests.tools.fake_trees import fake_modules, write_devel, write_kernel_tree, write_tarball
from tests.tools.rpm_building import build, lines, query


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmspec", "rpmbuild", "gcc", "make", "strip", "xz", "zstd")


def host_gcc() -> int:
    return int(run(["gcc", "-dumpversion"], timeout=10).stdout.split(".")[0])


def host_kernel(tmp_path: Path, *, major: int | None = None) -> Kernel:
    """K503 with a build tree under tmp_path."""
    folder = tmp_path / "devel"
    write_devel(folder, major=host_gcc() if major is None else major)
    return replace(sample.K503, devel_path=str(folder))


def build_kmod(tmp_path: Path, kernel: Kernel, compression: str = "xz", flavor: Flavor = Flavor.OPEN) -> list[Artifact]:
    dist = sample.distribution(kmod_compression=compression)
    sources = sample.sources(folder=tmp_path)
    tree = sources.kernel_tree(flavor)
    modules = fake_modules(sample.D535, kernel.release, flavor)
    top = f"nvidia-kmod-{sample.D535.version}-{flavor.value}"
    write_tarball(tree.path, top, write_kernel_tree(modules))
    return build(render_kmod(sample.cell(kernel, flavor=flavor, dist=dist), sources, sample.MATRIX), tmp_path / "top")


@pytest.mark.parametrize("name", sorted(SPECS))
def test_rpm_parses_every_rendered_spec(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]()
    (tmp_path / spec.filename).write_text(spec.text)
    done = run(["rpmspec", "-P", "--target", "x86_64", tmp_path / spec.filename], timeout=30)
    assert "warning" not in done.stderr
    found = query("rpmspec", "-q", "--target", "x86_64", tmp_path / spec.filename)
    assert found[0].evr.epoch == 3
    assert spec.filename == f"{found[0].name}.spec"


@pytest.mark.parametrize(("compression", "suffix"), [("none", ""), ("xz", ".xz"), ("zstd", ".zst")])
def test_a_kmod_package_holds_its_modules_and_requires_its_kernel_alone(
    compression: str, suffix: str, tmp_path: Path
) -> None:
    kernel = host_kernel(tmp_path)
    (rpm,) = build_kmod(tmp_path, kernel, compression)
    assert rpm.nevra == kmod_nevra(sample.cell(), sample.MATRIX)
    extra = f"/lib/modules/{kernel.release}/extra"
    files = [f"{extra}/nvidia/{module}.ko{suffix}" for module in sample.MODULES]
    assert sorted(lines(rpm.path, "-l")) == sorted([extra, f"{extra}/nvidia", *files])
    requires = [r for r in lines(rpm.path, "--requires") if not r.startswith("rpmlib(") and r != "/bin/sh"]
    assert requires == [f"{kernel.core}"]
    provides = lines(rpm.path, "--provides")
    assert f"kmod-nvidia-open-535.261.03-{kernel.label} = 3:535.261.03-1.open.el9" in provides


def test_two_builds_in_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    kernel = host_kernel(tmp_path)
    for name in ("one", "another-longer-name"):
        folder = tmp_path / name
        folder.mkdir()
        (rpm,) = build_kmod(folder, kernel)
        digests.append(hashlib.sha256(rpm.path.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_compiler_of_another_generation_stops_the_build_before_make(tmp_path: Path) -> None:
    kernel = host_kernel(tmp_path, major=4)
    with pytest.raises(ToolError) as caught:
        build_kmod(tmp_path, kernel)
    text = "\n".join(caught.value.details)
    assert "compiler mismatch" in text
    assert "gcc (Fake) 4.1.0" in text


def test_a_module_that_make_did_not_yield_fails_the_build(tmp_path: Path) -> None:
    kernel = host_kernel(tmp_path)
    sources = sample.sources(folder=tmp_path)
    modules = [m for m in fake_modules(sample.D535, kernel.release) if m.name != "nvidia-drm"]
    write_tarball(sources.kernel_tree(Flavor.OPEN).path, "nvidia-kmod-535.261.03-open", write_kernel_tree(modules))
    with pytest.raises(ToolError) as caught:
        build(render_kmod(sample.cell(kernel), sources, sample.MATRIX), tmp_path / "top")
    assert any("nvidia-drm.ko" in line for line in caught.value.details)


def test_driver_packages_hold_every_file_that_is_placed_and_provide_sonames(tmp_path: Path) -> None:
    sources = sample.sources(folder=tmp_path)
    write_userspace(sources.userspace.path, tmp_path)
    unit = sample.unit(PackageKind.DRIVER)
    rpms = {a.nevra.name: a for a in build(render_driver(unit, sources, sample.MATRIX), tmp_path / "top")}
    assert {a.nevra for a in rpms.values()} == set(package_nevras(unit, sample.MATRIX))
    assert "libcuda.so.1()(64bit)" in lines(rpms["nvidia-driver-cuda-libs"].path, "--provides")
    assert "/usr/lib64/libcuda.so.535.261.03" in lines(rpms["nvidia-driver-cuda-libs"].path, "-l")
    assert not any("nvidia-kmod" in r for r in lines(rpms["nvidia-driver-cuda-libs"].path, "--requires"))
    assert "nvidia-kmod-common = 3:535.261.03" in lines(rpms["nvidia-driver"].path, "--requires")
    assert "/usr/lib/firmware/nvidia/535.261.03/gsp_tu10x.bin" in lines(rpms["nvidia-firmware"].path, "-l")
    assert "/usr/share/licenses/nvidia-driver-cuda-libs/LICENSE" in lines(rpms["nvidia-driver-cuda-libs"].path, "-l")
    assert "/usr/lib/firmware/nvidia" in lines(rpms["nvidia-firmware"].path, "-l")  # owned, so it goes with its files
    modes = lines(rpms["nvidia-modprobe"].path, "--qf", "[%{FILEMODES:perms} %{FILENAMES}\n]")
    assert "-rwsr-xr-x /usr/bin/nvidia-modprobe" in modes


def write_userspace(path: Path, tmp_path: Path) -> None:
    """The user-space tarball of the sample manifest, libcuda being a real library."""
    library = tmp_path / "libcuda.so"
    source = tmp_path / "cuda.c"
    source.write_text("int cuInit(void) { return 0; }\n")
    run(["gcc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", library, source], timeout=60)
    files = {e.path: f"{e.path}\n" for e in sample.manifest("535.261.03") if e.target is None}
    write_tarball(path, "nvidia-driver-535.261.03", files)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    run(["tar", "-xzf", path, "-C", folder], timeout=30)
    library.rename(folder / "nvidia-driver-535.261.03" / "libcuda.so.535.261.03")
    run(["tar", "-czf", path, "-C", folder, "nvidia-driver-535.261.03"], timeout=30)


def test_gates_metas_and_dkms_sources_are_built_and_named_as_planned(tmp_path: Path) -> None:
    sources = sample.sources(folder=tmp_path)
    modules = fake_modules(sample.D535, "x")
    write_tarball(sources.kernel_tree(Flavor.OPEN).path, "nvidia-kmod-535.261.03-open", write_kernel_tree(modules))
    gate = sample.gate()
    dkms_gate = sample.gate(kmods=Kmods.DKMS)
    dkms = sample.unit(PackageKind.DKMS, flavor=Flavor.OPEN)
    cuda, meta = sample.unit(PackageKind.CUDA_DRIVERS), sample.unit(PackageKind.OPEN_META)
    specs = {
        gate: render_gate(gate, sample.gate_kernels(sample.K427), 1, sample.MATRIX),
        dkms_gate: render_gate(dkms_gate, sample.gate_kernels(), 1, sample.MATRIX),
        dkms: render_dkms(dkms, sources, sample.MATRIX),
        cuda: render_cuda_drivers(cuda, sample.MATRIX),
        meta: render_open_meta(meta, sample.MATRIX),
    }
    for unit, spec in specs.items():
        (rpm,) = build(spec, tmp_path / "top")
        assert rpm.nevra == package_nevra(unit, sample.MATRIX)
        if unit is dkms:
            assert "/usr/src/nvidia-535.261.03/dkms.conf" in lines(rpm.path, "-l")
