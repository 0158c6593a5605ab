"""Everything that has a golden file, by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from builder.model.cells import PackageKind
from builder.model.matrix import Flavor, Kmods
from builder.model.publication import ClientRepository
from builder.model.sources import SpecFile
from builder.render import (
    render_archive,
    render_certificate,
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_dnf_plugin,
    render_driver,
    render_gate,
    render_kmod,
    render_mock_config,
    render_modules,
    render_objects,
    render_open_meta,
    render_open_source,
    render_open_tree,
    render_release,
)
from tests.golden import sample

COMPUTE_ONLY = ("CUDA_LIB", "CUDA_SYMLINK", "UTILITY_LIB", "UTILITY_BINARY", "DOCUMENTATION", "FIRMWARE")
LAB_TEMPLATES = Path(__file__).parents[1] / "lab" / "mock-configs"


def _kmod(flavor: Flavor, signer: str | None) -> SpecFile:
    return render_kmod(sample.cell(flavor=flavor), sample.sources(), sample.MATRIX, signer=signer)


def _modules(flavor: Flavor, **changes: object) -> SpecFile:
    return render_modules(sample.cell(flavor=flavor, **changes), sample.sources(), sample.MATRIX)  # type: ignore[arg-type]


def _objects(flavor: Flavor) -> SpecFile:
    return render_objects(sample.unit(PackageKind.OBJECTS, flavor=flavor), sample.sources(), sample.MATRIX)


def _archive(kind: PackageKind) -> SpecFile:
    return render_archive(sample.unit(kind), sample.archive_sources(kind), sample.MATRIX)


def _dkms_gate() -> SpecFile:
    unit = sample.gate(flavor=Flavor.OPEN, kmods=Kmods.DKMS)
    return render_gate(unit, sample.gate_kernels(sample.K503), 7, sample.MATRIX)


def _compute() -> SpecFile:
    entries = tuple(e for e in sample.manifest(sample.D535.version) if e.type in COMPUTE_ONLY)
    unit = sample.unit(PackageKind.DRIVER)
    return render_driver(unit, sample.sources(entries=entries), sample.MATRIX, serial=2)


def _proprietary_gate() -> SpecFile:
    kernels = sample.gate_kernels(sample.K427, flavor=Flavor.PROPRIETARY)
    return render_gate(sample.gate(flavor=Flavor.PROPRIETARY), kernels, 1, sample.MATRIX)


def _release() -> SpecFile:
    unit = replace(sample.unit(PackageKind.RELEASE, dist=sample.distribution("el10")), stream="r535-open")
    lines = ("[nvidia-driver-el10]", "baseurl=https://example.org/100%/el10/$basearch/streams/$nvidiastream", "")
    repository = ClientRepository(id="nvidia-driver-el10", text="\n".join(lines))
    return render_release(unit, sample.MATRIX, repository, serial=3)


SPECS: dict[str, Callable[[], SpecFile]] = {
    "modules-open.spec": lambda: _modules(Flavor.OPEN),
    "modules-cloud.spec": lambda: _modules(Flavor.PROPRIETARY, k=sample.CLOUD),
    "modules-patched.spec": lambda: _modules(Flavor.OPEN, d=replace(sample.D535, patches=sample.PATCHES)),
    "kmod-open-signed.spec": lambda: _kmod(Flavor.OPEN, "Example modules 100%"),
    "kmod-proprietary.spec": lambda: _kmod(Flavor.PROPRIETARY, None),
    "dnf-plugin.spec": lambda: render_dnf_plugin(sample.unit(PackageKind.DNF_PLUGIN), sample.MATRIX),
    "libdnf5-plugin.spec": lambda: render_dnf_plugin(sample.unit(PackageKind.LIBDNF5_PLUGIN), sample.MATRIX),
    "certificate.spec": lambda: render_certificate(
        sample.unit(PackageKind.CERTIFICATE), sample.MATRIX, "Example modules 100%", b"not a real certificate" * 20
    ),
    "gate-signed.spec": lambda: render_gate(
        sample.gate(), sample.gate_kernels(sample.K427), 1, sample.MATRIX, signed=True
    ),
    "open-tree.spec": lambda: render_open_tree(
        sample.D535, sample.EL9, "x86_64", sample.source("NVIDIA-kernel-module-source-535.261.03.tar.xz"), sample.MATRIX
    ),
    "objects-proprietary.spec": lambda: _objects(Flavor.PROPRIETARY),
    "gate-open.spec": lambda: render_gate(
        sample.gate(), sample.gate_kernels(sample.K427, sample.K570, sample.CLOUD), 7, sample.MATRIX
    ),
    "gate-proprietary.spec": _proprietary_gate,
    "gate-open-dkms.spec": _dkms_gate,
    "driver.spec": lambda: render_driver(sample.unit(PackageKind.DRIVER), sample.sources(), sample.MATRIX),
    "driver-compute.spec": _compute,
    "driver-compat32.spec": lambda: render_compat32(sample.unit(PackageKind.COMPAT32), sample.sources(), sample.MATRIX),
    "dkms-open.spec": lambda: render_dkms(
        sample.unit(PackageKind.DKMS, flavor=Flavor.OPEN), sample.sources(), sample.MATRIX
    ),
    "fabricmanager.spec": lambda: _archive(PackageKind.FABRICMANAGER),
    "nscq.spec": lambda: _archive(PackageKind.NSCQ),
    "imex.spec": lambda: _archive(PackageKind.IMEX),
    "open-source.spec": lambda: render_open_source(
        sample.unit(PackageKind.OPEN_SOURCE, flavor=Flavor.OPEN), sample.sources(), sample.MATRIX
    ),
    "cuda-drivers.spec": lambda: render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS), sample.MATRIX),
    "release.spec": _release,
    "nvidia-open.spec": lambda: render_open_meta(sample.unit(PackageKind.OPEN_META), sample.MATRIX),
}


def _mock(name: str) -> Callable[[], str]:
    dist = sample.distribution(name)
    return lambda: render_mock_config(dist.chroots[0], dist)


MOCK_CONFIGS: dict[str, Callable[[], str]] = {f"{name}.cfg": _mock(name) for name in ("el7", "el8", "el9", "el10")}


def _lab() -> str:
    dist = sample.distribution("lab9")
    chroot = dist.chroots[0]
    return render_mock_config(replace(chroot, template_text=(LAB_TEMPLATES / chroot.template).read_text()), dist)


MOCK_CONFIGS["lab9.cfg"] = _lab
