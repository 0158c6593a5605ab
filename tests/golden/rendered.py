"""Everything that has a golden file, by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from builder.model.cells import Artifact, PackageKind
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Flavor, Kmods
from builder.model.publication import ClientRepository
from builder.model.sources import SpecFile
from builder.publish import host_repository
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
    render_repository_release,
    render_stream_kmods,
    render_stream_release,
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


def _repository_release(certificate: bool = True) -> SpecFile:
    """During an overlap of two keys."""
    armored = b"-----BEGIN PGP PUBLIC KEY BLOCK-----\n\n%s\n-----END PGP PUBLIC KEY BLOCK-----\n"
    keys = [armored % b"bWFkZSB1cA==", b"Its owner says: 100%\n" + armored % b"dGhlIG5leHQgb25l"]
    signer = ("Example modules 100%", b"not a real certificate" * 20) if certificate else None
    host = host_repository("nvidia-driver", "el9", "https://example.org/100%/r/", keys, signer)
    return render_repository_release(sample.unit(PackageKind.RELEASE), sample.MATRIX, host, serial=4)


EL7 = sample.distribution("el7", delivery=Delivery.BRANCH_PACKAGES, payload="w6.xzdio")


def _named(kind: PackageKind, kmods: Kmods = Kmods.PRECOMPILED) -> SpecFile:
    """A package of the stream r535-open, or of its DKMS counterpart, where streams stand in package names."""
    label = "branch-535-open-dkms" if kmods is Kmods.DKMS else "branch-535-open"
    unit = replace(sample.unit(kind, flavor=Flavor.OPEN, kmods=kmods, dist=EL7), label=label)
    sources, matrix = sample.sources(), sample.MATRIX
    match kind:
        case PackageKind.DRIVER:
            return render_driver(unit, sources, matrix)
        case PackageKind.COMPAT32:
            return render_compat32(unit, sources, matrix)
        case PackageKind.DKMS:
            return render_dkms(unit, sources, matrix)
        case PackageKind.OBJECTS:
            return render_objects(unit, sources, matrix)
        case PackageKind.GATE:
            return render_gate(unit, sample.gate_kernels(sample.K427), 1, matrix)
        case PackageKind.RELEASE:
            return render_stream_release(unit, matrix)
        case PackageKind.FABRICMANAGER:
            return render_archive(unit, sample.archive_sources(kind), matrix)
        case _:
            return render_stream_kmods(unit, named_kernels(), sources, matrix, serial=2, signed=True)


def named_kernels() -> tuple[GateKernel, ...]:
    """Of five kernels the first and the last of one name have modules; the one between has none."""
    found = []
    for known in sample.gate_kernels(sample.K427, sample.K570):
        path = Path("/nowhere", known.kmod.filename) if known.kmod else None
        rpm = Artifact(nevra=known.kmod, path=path, size=1, sha256="3" * 64) if known.kmod and path else None
        found.append(replace(known, rpm=rpm))
    return tuple(found)


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
    "repository-release.spec": _repository_release,
    "repository-release-unsigned.spec": lambda: _repository_release(certificate=False),
    "named-driver.spec": lambda: _named(PackageKind.DRIVER),
    "named-compat32.spec": lambda: _named(PackageKind.COMPAT32),
    "named-dkms.spec": lambda: _named(PackageKind.DKMS, Kmods.DKMS),
    "named-objects.spec": lambda: _named(PackageKind.OBJECTS),
    "named-gate.spec": lambda: _named(PackageKind.GATE),
    "named-kmods.spec": lambda: _named(PackageKind.STREAM_KMODS),
    "named-release.spec": lambda: _named(PackageKind.RELEASE),
    "named-fabricmanager.spec": lambda: _named(PackageKind.FABRICMANAGER),
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


def _fedora() -> str:
    dist = sample.distribution("fedora", title="Fedora 43")
    macros = (("dist", ".fc43"), ("_dbpath", "/usr/lib/sysimage/rpm"))
    return render_mock_config(replace(dist.chroots[0], releasever="43", macros=macros), replace(dist, dist_tag=".fc43"))


MOCK_CONFIGS["fedora.cfg"] = _fedora
