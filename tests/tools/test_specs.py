"""Real rpm reads and builds every spec that is rendered."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.model.cells import PackageKind
from builder.model.matrix import Flavor, Kmods
from builder.model.naming import ARCHIVE_KINDS, JOIN_CAPABILITY, kmod_nevra, package_arch, package_nevra, package_nevras
from builder.qualify import qualify_packages
from builder.render import (
    render_archive,
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_driver,
    render_gate,
    render_objects,
    render_open_meta,
    render_open_source,
)
from builder.tools.rpms import rpm_file_member
from builder.tools.run import run
from tests.golden import sample
from tests.golden.rendered import SPECS
from tests.lab.light_archives import write_archive
from tests.need import need, need_header
from tests.tools.fake_trees import fake_modules, write_kernel_tree, write_tarball
from tests.tools.kmod_building import build_kmod, host_kernel, with_objects
from tests.tools.rpm_building import build, lines, query


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmspec", "rpmbuild", "gcc", "make", "strip", "zstd")


@pytest.mark.parametrize("name", sorted(SPECS))
def test_rpm_parses_every_rendered_spec(name: str, tmp_path: Path) -> None:
    spec = SPECS[name]()
    (tmp_path / spec.filename).write_text(spec.text)
    done = run(["rpmspec", "-P", "--target", "x86_64", tmp_path / spec.filename], timeout=30)
    assert "warning" not in done.stderr
    found = query("rpmspec", "-q", "--srpm", "--target", "x86_64", tmp_path / spec.filename)
    assert found[0].evr.epoch == 3
    assert spec.filename == f"{found[0].name}.spec"


def test_a_kmod_package_holds_the_parts_of_its_kernel_and_requires_what_they_are_joined_with(tmp_path: Path) -> None:
    built = build_kmod(tmp_path)
    (rpm,) = built.artifacts
    release = sample.K503.release
    assert rpm.nevra == kmod_nevra(sample.cell(), sample.MATRIX)
    extra, parts = f"/lib/modules/{release}/extra", f"/usr/lib/nvidia-kmod/{release}"
    files = [f"{extra}/nvidia/{m}.ko" for m in sample.MODULES] + [f"{parts}/{m}.ko.zst" for m in sample.MODULES]
    folders = [extra, f"{extra}/nvidia", "/usr/lib/nvidia-kmod", parts]
    assert sorted(lines(rpm.path, "-l")) == sorted([*folders, f"{parts}/modules", *files])
    requires = [r for r in lines(rpm.path, "--requires") if not r.startswith("rpmlib(") and r != "/bin/sh"]
    objects = [f"nvidia-kmod-object({sha256})" for sha256 in built.objects]
    join = ["nvidia-kmod-objects = 3:535.261.03", JOIN_CAPABILITY]
    assert sorted(requires) == sorted([f"{sample.K503.core}", *join, *objects])
    provides = lines(rpm.path, "--provides")
    assert f"kmod-nvidia-open-535.261.03-{sample.K503.label} = 3:535.261.03-1.open.el9" in provides


def test_the_objects_package_brings_the_objects_as_they_came(tmp_path: Path) -> None:
    need_header("zstd.h")
    sources = with_objects(sample.sources(folder=tmp_path), tmp_path)
    unit = sample.unit(PackageKind.OBJECTS, flavor=Flavor.OPEN)
    (rpm,) = build(render_objects(unit, sources, sample.MATRIX), tmp_path / "top")
    assert rpm.nevra == package_nevra(unit, sample.MATRIX)
    for item in sources.kernel_objects(Flavor.OPEN):
        path = f"/usr/lib/nvidia-kmod/objects/535.261.03-open/{item.filename}"
        assert rpm_file_member(rpm.path, path) == item.path.read_bytes()
        assert f"nvidia-kmod-object({item.sha256})" in lines(rpm.path, "--provides")


def test_two_builds_in_two_folders_give_the_same_bytes(tmp_path: Path) -> None:
    digests = []
    kernel = host_kernel(tmp_path / "devel")
    for name in ("one", "another-longer-name"):
        folder = tmp_path / name
        folder.mkdir()
        (rpm,) = build_kmod(folder, kernel=kernel).artifacts
        digests.append(hashlib.sha256(rpm.path.read_bytes()).hexdigest())
    assert digests[0] == digests[1]


def test_a_compiler_of_another_generation_stops_the_build_before_make(tmp_path: Path) -> None:
    kernel = host_kernel(tmp_path / "devel", major=4)
    with pytest.raises(ToolError) as caught:
        build_kmod(tmp_path, kernel=kernel)
    text = "\n".join(caught.value.details)
    assert "compiler mismatch" in text
    assert "gcc (Fake) 4.1.0" in text


def test_a_module_that_make_did_not_yield_fails_the_build(tmp_path: Path) -> None:
    with pytest.raises(ToolError) as caught:
        build_kmod(tmp_path, change=lambda modules: [m for m in modules if m.name != "nvidia-drm"])
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


def test_32_bit_libraries_are_built_as_i686_and_stay_in_step_with_modules_and_libraries(tmp_path: Path) -> None:
    sources = sample.sources(folder=tmp_path)
    write_userspace(sources.userspace.path, tmp_path)
    unit = sample.unit(PackageKind.COMPAT32)
    spec = render_compat32(unit, sources, sample.MATRIX)
    rpms = {a.nevra.name: a for a in build(spec, tmp_path / "top", target=package_arch(unit))}
    assert {a.nevra for a in rpms.values()} == set(package_nevras(unit, sample.MATRIX))
    cuda, libs = rpms["nvidia-driver-cuda-libs"], rpms["nvidia-driver-libs"]
    provides = lines(cuda.path, "--provides")
    assert "libcuda.so.1" in provides
    assert "nvidia-driver-cuda-libs(x86-32) = 3:535.261.03-1.el9" in provides
    assert "libcuda.so.1()(64bit)" not in provides
    assert f"/usr/lib/libcuda.so.{sample.D535.version}" in lines(cuda.path, "-l")
    assert not any("lib64" in path for rpm in rpms.values() for path in lines(rpm.path, "-l"))
    assert [r for r in lines(cuda.path, "--requires") if not r.startswith(("rpmlib(", "rtld("))] == [
        "(nvidia-driver-cuda-libs(x86-64) = 3:535.261.03 if nvidia-driver-cuda-libs(x86-64))",
        "(nvidia-kmod-common = 3:535.261.03 if nvidia-kmod-common)",
    ]
    assert "/usr/share/vulkan/icd.d/nvidia_icd.json" in lines(libs.path, "-l")


def test_archives_beside_the_run_become_packages_of_exactly_the_drivers_version(tmp_path: Path) -> None:
    built: dict[str, Path] = {}
    for kind in ARCHIVE_KINDS:
        write_archive(ARCHIVE_KINDS[kind], sample.D535.version, tmp_path)
        spec = render_archive(sample.unit(kind), sample.archive_sources(kind, folder=tmp_path), sample.MATRIX)
        rpms = build(spec, tmp_path / "top" / kind.value)
        assert {a.nevra for a in rpms} == set(package_nevras(sample.unit(kind), sample.MATRIX))
        assert qualify_packages(sample.unit(kind), rpms, sample.MATRIX).ok
        built |= {a.nevra.name: a.path for a in rpms}
    manager, devel, nscq = (built[n] for n in ("nvidia-fabricmanager", "nvidia-fabricmanager-devel", "libnvidia-nscq"))
    gate = "nvidia-kmod-common = 3:535.261.03"
    assert gate in lines(manager, "--requires")
    assert gate in lines(built["nvidia-imex"], "--requires")
    assert f"({gate} if nvidia-kmod-common)" in lines(nscq, "--requires")
    assert "/usr/share/nvidia/nvswitch/fabricmanager.cfg" in lines(manager, "-c")
    assert "/etc/nvidia-imex/config.cfg" in lines(built["nvidia-imex"], "-c")
    assert "libnvfm.so.1()(64bit)" in lines(devel, "--provides")
    assert "libnvidia-nscq.so.2()(64bit)" in lines(nscq, "--provides")
    assert "nvidia-fabric-manager = 3:535.261.03-1.el9" in lines(manager, "--provides")
    assert "libnvidia-nscq-535 < 4:0" in lines(nscq, "--obsoletes")
    assert "preset nvidia-fabricmanager.service" in "\n".join(lines(manager, "--scripts"))


def test_the_source_package_carries_the_open_kernel_tree(tmp_path: Path) -> None:
    sources = sample.sources(folder=tmp_path)
    tree = write_kernel_tree(fake_modules(sample.D535, "x"))
    write_tarball(sources.kernel_tree(Flavor.OPEN).path, "nvidia-kmod-535.261.03-open", tree)
    unit = sample.unit(PackageKind.OPEN_SOURCE, flavor=Flavor.OPEN)
    (rpm,) = build(render_open_source(unit, sources, sample.MATRIX), tmp_path / "top")
    assert rpm.nevra == package_nevra(unit, sample.MATRIX)
    assert qualify_packages(unit, [rpm], sample.MATRIX).ok
    files = lines(rpm.path, "-l")
    assert {f"/usr/src/nvidia-open-535.261.03/{name}" for name in tree} <= set(files)
    assert [r for r in lines(rpm.path, "--requires") if not r.startswith("rpmlib(")] == []


def write_userspace(path: Path, tmp_path: Path) -> None:
    """The user-space tarball of the sample manifest, libcuda being a real library of either size."""
    source = tmp_path / "cuda.c"
    source.write_text("int cuInit(void) { return 0; }\n")
    for size, library in (("-m64", "libcuda.so"), ("-m32", "libcuda32.so")):
        flags = [size, "-nostdlib", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1"]
        run(["gcc", *flags, "-o", tmp_path / library, source], timeout=60)
    files = {e.path: f"{e.path}\n" for e in sample.manifest("535.261.03") if e.target is None}
    write_tarball(path, "nvidia-driver-535.261.03", files)
    folder = tmp_path / "unpacked"
    folder.mkdir()
    run(["tar", "-xzf", path, "-C", folder], timeout=30)
    (tmp_path / "libcuda.so").rename(folder / "nvidia-driver-535.261.03" / "libcuda.so.535.261.03")
    (tmp_path / "libcuda32.so").rename(folder / "nvidia-driver-535.261.03/32" / "libcuda.so.535.261.03")
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
