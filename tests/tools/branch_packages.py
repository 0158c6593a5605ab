"""Streams in package names: a signed publication of the real specs' small RPMs, made from the modular repository's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from builder.model.cells import Artifact, PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Driver, Flavor, Kernel, Kmods, Stream
from builder.model.publication import Publication, PublicationContent, StreamContent
from builder.model.sources import SpecFile
from builder.plan.streams import offered_profiles
from builder.plan.units import stream_units
from builder.publish import publish
from builder.render import (
    render_archive,
    render_compat32,
    render_dkms,
    render_driver,
    render_gate,
    render_objects,
    render_open_source,
    render_stream_kmods,
    render_stream_release,
)
from builder.sign import Signer
from builder.tools.rpms import read_artifact
from builder.tools.run import run
from tests.golden import sample
from tests.tools import publishing
from tests.tools.kmod_building import with_objects
from tests.tools.rpm_building import build
from tests.tools.stream_repository import STUBS, WITH_MODULES, Repository, stub

GAP = sample.kernel("5.14.0-490.1.1.el9_5.x86_64", "5.14.0-490.1.1.el9_5")  # between the two with modules, known
KERNELS = (sample.K427, GAP, sample.K503, sample.K570)
EL7 = sample.distribution(
    "el7", delivery=Delivery.BRANCH_PACKAGES, payload="w6.xzdio", kernels=KERNELS, other_kernels=("kernel-64k-core",)
)
STREAMS = {
    "r535": (sample.D535, Flavor.PROPRIETARY, Kmods.PRECOMPILED),
    "r535-open": (sample.D535, Flavor.OPEN, Kmods.PRECOMPILED),
    "r550-open": (sample.D550, Flavor.OPEN, Kmods.PRECOMPILED),
    "latest": (sample.D550, Flavor.OPEN, Kmods.PRECOMPILED),
    "latest-dkms": (sample.D550, Flavor.OPEN, Kmods.DKMS),
}
LABELS = {"r535": "branch-535", "r535-open": "branch-535-open", "r550-open": "branch-550-open"} | {
    name: name for name in ("latest", "latest-dkms")
}
EPOCH = publishing.EPOCH
_PROFILES = {
    "default": ("nvidia-driver", "nvidia-driver-cuda", "cuda-drivers"),
    "headless": ("nvidia-driver-cuda",),
    "fm": ("nvidia-driver", "nvidia-fabricmanager", "libnvidia-nscq"),
}


def stream_of(name: str, *, default: bool = False) -> Stream:
    _, flavor, kmods = STREAMS[name]
    one = publishing.stream(name, default=default)
    profiles = tuple(replace(one.profiles[0], name=p, packages=packages) for p, packages in _PROFILES.items())
    return replace(one, flavor=flavor, kmods=kmods, profiles=profiles)


def plain_units(driver: Driver, flavor: Flavor, kmods: Kmods) -> list[Unit]:
    """What a driver has in a distribution of streams in package names, before any stream takes it."""
    of = partial(sample.unit, d=driver, dist=EL7)
    kinds = [PackageKind.DRIVER, PackageKind.COMPAT32, PackageKind.FABRICMANAGER, PackageKind.NSCQ]
    units = [of(kind) for kind in (*kinds, PackageKind.CUDA_DRIVERS)]
    units.append(of(PackageKind.DKMS if kmods is Kmods.DKMS else PackageKind.OBJECTS, flavor=flavor))
    return units + ([of(PackageKind.OPEN_SOURCE, flavor=flavor)] if flavor is Flavor.OPEN else [])


class BranchPackages:
    """Builds every package once: r535 twice with modules for one kernel and then for two, latest from 535 to 550."""

    def __init__(self, top: Path, signer: Signer, built: Repository) -> None:
        self.top = top
        self.signer = signer
        self.built = built
        self.repo = top / "published"
        self.base = top / "base"  # what the distribution brings: not ours, not signed
        self.streams: dict[str, list[Artifact]] = {}
        self.make_base()
        for name, (driver, _, _) in STREAMS.items():
            self.streams[name] = self.make(name, driver)
        self.streams["latest before"] = self.make("latest", sample.D535)
        first = self.streams["r535"]
        more = self.build(self.kmods_unit("r535"), sample.D535, 2, WITH_MODULES)
        self.streams["r535"] = [a for a in first if a.nevra.name != "kmod-nvidia-branch-535"]
        self.streams["r535"] += more
        self.streams["r535 before"] = [a for a in first if a not in more]
        self.sign()

    def make_base(self) -> None:
        self.base.mkdir()
        for name in (*STUBS, "kernel-core"):
            for rpm in self.built.folder.glob(f"{name}-[0-9]*.rpm"):
                (self.base / rpm.name).hardlink_to(rpm)
        gap = stub("kernel-core", f"{GAP.core.evr.version}-{GAP.core.evr.release}", [], [], self.top / "gap")
        gap.path.rename(self.base / gap.path.name)
        run(["createrepo_c", "-q", "--compress-type", "gz", self.base], timeout=120)

    def make(self, name: str, driver: Driver) -> list[Artifact]:
        _, flavor, kmods = STREAMS[name]
        made: list[Artifact] = []
        served = WITH_MODULES[:1] if name == "r535" else WITH_MODULES
        for unit in stream_units(stream_of(name), plain_units(driver, flavor, kmods)):
            made += self.build(unit, driver, 1, served)
        return made

    def kmods_unit(self, name: str) -> Unit:
        driver, flavor, kmods = STREAMS[name]
        units = stream_units(stream_of(name), plain_units(driver, flavor, kmods))
        return next(u for u in units if u.kind is PackageKind.STREAM_KMODS)

    def build(self, unit: Unit, driver: Driver, serial: int, served: Sequence[Kernel]) -> list[Artifact]:
        folder = self.built.top  # the sources lie there
        target = "i686" if unit.kind is PackageKind.COMPAT32 else "x86_64"
        spec = self.render(unit, driver, serial, served)
        kept = self.top / f"{unit.label}-{driver.version}"
        kept.mkdir(exist_ok=True)
        rpms = build(spec, folder / "named", target=target)
        return [read_artifact(rpm.path.rename(kept / rpm.path.name)) for rpm in rpms]

    def render(self, unit: Unit, driver: Driver, serial: int, served: Sequence[Kernel]) -> SpecFile:
        folder, matrix = self.built.top, sample.MATRIX
        sources = with_objects(sample.sources(driver, folder=folder), folder)
        kernels = tuple(self.gate_kernel(k, driver, unit.flavor or Flavor.OPEN, served) for k in KERNELS)
        match unit.kind:
            case PackageKind.RELEASE:
                return render_stream_release(unit, matrix, serial=serial)
            case PackageKind.GATE:
                return render_gate(unit, kernels, serial, matrix)
            case PackageKind.STREAM_KMODS:
                return render_stream_kmods(unit, kernels, sources, matrix, serial=serial, signed=False)
            case PackageKind.COMPAT32:
                return render_compat32(unit, sources, matrix, serial=serial)
            case PackageKind.OBJECTS:
                return render_objects(unit, sources, matrix, serial=serial)
            case PackageKind.DKMS:
                return render_dkms(unit, sources, matrix, serial=serial)
            case PackageKind.OPEN_SOURCE:
                return render_open_source(unit, sources, matrix, serial=serial)
            case PackageKind.DRIVER:
                return render_driver(unit, sources, matrix, serial=serial)
            case _:
                archive = sample.archive_sources(unit.kind, driver, folder=folder)
                return render_archive(unit, archive, matrix, serial=serial)

    def gate_kernel(self, kernel: Kernel, driver: Driver, flavor: Flavor, served: Sequence[Kernel]) -> GateKernel:
        if kernel not in served:
            return GateKernel(kernel=kernel, kmod=None)
        label = f"kmod-nvidia-{kernel.label}-{driver.version}-1{flavor.release_tag}.el9.x86_64.rpm"
        rpm = read_artifact(self.built.folder / label)
        return GateKernel(kernel=kernel, kmod=rpm.nevra, rpm=rpm)

    def sign(self) -> None:
        unsigned = {a.path: a for artifacts in self.streams.values() for a in artifacts}
        (self.top / "signed").mkdir()
        copies = self.signer.sign_rpms(list(unsigned.values()), self.top / "signed", epoch=EPOCH)
        signed = dict(zip(unsigned, copies, strict=True))
        for name, artifacts in self.streams.items():
            self.streams[name] = [signed[a.path] for a in artifacts]

    def content(self, streams: dict[str, list[Artifact]], *, default: str = "latest") -> PublicationContent:
        parts = []
        for name, artifacts in sorted(streams.items()):
            stream = stream_of(name, default=name == default)
            versions = sorted({a.nevra.evr.version for a in artifacts})
            profiles = offered_profiles(stream, versions[-1], (a.nevra for a in artifacts), stream.label)
            parts.append(
                StreamContent(
                    stream=replace(stream, profiles=profiles),
                    driver_versions=tuple(versions),
                    artifacts=tuple(sorted(artifacts, key=lambda a: str(a.nevra))),
                )
            )
        return publishing.content_without_modules("el7", Delivery.BRANCH_PACKAGES, parts)

    def publish(self, *, before: bool = False, repo: Path | None = None, without: Iterable[str] = ()) -> Publication:
        """Make what there is now, or what was there before, the current publication; ``without`` some packages."""
        streams = {name: self.streams[name] for name in STREAMS}
        if before:
            streams |= {name: self.streams[f"{name} before"] for name in ("r535", "latest")}
        lost = set(without)
        streams = {name: [a for a in artifacts if a.nevra.name not in lost] for name, artifacts in streams.items()}
        return publish(
            self.content(streams),
            repo or self.repo,
            public_key=self.signer.public_key(),
            sign=partial(self.signer.sign_detached, epoch=EPOCH),
            epoch=EPOCH,
            terms=publishing.TERMS,
            base_url=self.repo.as_uri(),
        )
