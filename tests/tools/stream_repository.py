"""A modular repository of small RPMs of the real specs: two drivers, both flavors, precompiled and DKMS."""

from __future__ import annotations

from pathlib import Path

import yaml

from builder.model.cells import Artifact, PackageKind
from builder.model.gate import GateKernel
from builder.model.matrix import Driver, Flavor, Kmods
from builder.model.naming import ARCHIVE_KINDS
from builder.model.sources import SpecFile
from builder.render import (
    render_archive,
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_dnf_plugin,
    render_driver,
    render_gate,
    render_objects,
    render_open_meta,
    render_open_source,
)
from builder.tools.run import run
from tests.golden import sample
from tests.lab.light_archives import write_archive
from tests.tools.fake_trees import write_tarball
from tests.tools.kmod_building import build_kmod, host_kernel, with_objects
from tests.tools.rpm_building import artifact, build

WITH_MODULES = (sample.K427, sample.K503)
OTHER_KERNEL = "kernel-64k-core"  # of the distribution; no kernel of the matrix comes in it
STREAMS = {
    "r535": (sample.D535, Flavor.PROPRIETARY, Kmods.PRECOMPILED),
    "r535-open": (sample.D535, Flavor.OPEN, Kmods.PRECOMPILED),
    "r550": (sample.D550, Flavor.PROPRIETARY, Kmods.PRECOMPILED),
    "r550-open": (sample.D550, Flavor.OPEN, Kmods.PRECOMPILED),
    "r535-open-dkms": (sample.D535, Flavor.OPEN, Kmods.DKMS),
    "r550-dkms": (sample.D550, Flavor.PROPRIETARY, Kmods.DKMS),
}
STUBS = {  # what a distribution and CUDA bring
    "bash": ["/bin/sh"],
    "distribution": [
        "dkms",
        "gcc",
        "make",
        "elfutils-libelf-devel",
        "kernel-devel",
        "coreutils",
        "libzstd.so.1()(64bit)",
        "libc.so.6()(64bit)",
        "python3-dnf",
    ],
    "cuda-toolkit": [],
    "glibc": ["rtld(GNU_HASH)", "libc.so.6(GLIBC_2.2.5)(64bit)", "libc.so.6(GLIBC_2.34)(64bit)"],
}


def stub(name: str, evr: str, provides: list[str], requires: list[str], top: Path) -> Artifact:
    version, release = evr.split("-")
    lines = [
        f"Name: {name}",
        f"Version: {version}",
        f"Release: {release}",
        "Summary: x",
        "License: x",
        "AutoReqProv: no",
    ]
    lines += [f"Provides: {p}" for p in provides] + [f"Requires: {r}" for r in requires]
    text = "\n".join([*lines, "%description", "x", "%files", ""])
    (built,) = build(SpecFile(filename=f"{name}.spec", text=text, sources=()), top)
    return built


class Repository:
    """Builds every package of the streams once."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.folder = top / "repo"
        self.folder.mkdir(parents=True)
        self.streams: dict[str, list[Artifact]] = {name: [] for name in STREAMS}

    def keep(self, rpms: list[Artifact]) -> list[Artifact]:
        return [artifact(rpm.path.rename(self.folder / rpm.path.name)) for rpm in rpms]

    def make(self) -> None:
        for name, provides in STUBS.items():
            self.keep([stub(name, "1-1", provides, ["cuda-drivers"] if name == "cuda-toolkit" else [], self.top)])
        for kernel in (*WITH_MODULES, sample.K570):
            evr = kernel.core.evr
            self.keep([stub("kernel-core", f"{evr.version}-{evr.release}", ["installonlypkg(kernel)"], [], self.top)])
        self.keep([stub(OTHER_KERNEL, "5.14.0-503.11.1.el9_5", ["installonlypkg(kernel)"], [], self.top)])
        for driver in (sample.D535, sample.D550):
            self.make_driver(driver)
        self.write_metadata()

    def make_driver(self, driver: Driver) -> None:
        sources = sample.sources(driver, folder=self.top)
        files = {e.path: f"{e.path}\n" for e in sources.manifest if e.target is None}
        write_tarball(sources.userspace.path, f"nvidia-driver-{driver.version}", files)
        common = self.keep(
            build(render_driver(sample.unit(PackageKind.DRIVER, driver), sources, sample.MATRIX), self.top)
        )
        compat32 = render_compat32(sample.unit(PackageKind.COMPAT32, driver), sources, sample.MATRIX)
        common += self.keep(build(compat32, self.top, target="i686"))
        common += self.keep(
            build(render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS, driver), sample.MATRIX), self.top)
        )
        meta = self.keep(build(render_open_meta(sample.unit(PackageKind.OPEN_META, driver), sample.MATRIX), self.top))
        for kind in (PackageKind.FABRICMANAGER, PackageKind.NSCQ):
            write_archive(ARCHIVE_KINDS[kind], driver.version, self.top)
            archive = sample.archive_sources(kind, driver, folder=self.top)
            common += self.keep(build(render_archive(sample.unit(kind, driver), archive, sample.MATRIX), self.top))
        for flavor in Flavor:
            modules = self.make_modules(driver, flavor)
            for name, (of, wanted, kmods) in STREAMS.items():
                if (of, wanted) == (driver, flavor):
                    self.streams[name] += common + self.make_gate(driver, flavor, kmods) + modules[kmods]
                    self.streams[name] += meta + self.make_source(driver) if flavor is Flavor.OPEN else []

    def make_modules(self, driver: Driver, flavor: Flavor) -> dict[Kmods, list[Artifact]]:
        sources = sample.sources(driver, folder=self.top)
        kmods = []
        for kernel in WITH_MODULES:
            here = host_kernel(self.top / "devel", kernel)
            kmods += self.keep(build_kmod(self.top, kernel=here, driver=driver, flavor=flavor).artifacts)
        objects = with_objects(sources, self.top)
        of = sample.unit(PackageKind.OBJECTS, driver, flavor=flavor)
        kmods += self.keep(build(render_objects(of, objects, sample.MATRIX), self.top))
        plugin = sample.unit(PackageKind.DNF_PLUGIN, driver)
        kmods += self.keep(build(render_dnf_plugin(plugin, sample.MATRIX), self.top))
        unit = sample.unit(PackageKind.DKMS, driver, flavor=flavor)
        return {
            Kmods.PRECOMPILED: kmods,
            Kmods.DKMS: self.keep(build(render_dkms(unit, sources, sample.MATRIX), self.top)),
        }

    def make_source(self, driver: Driver) -> list[Artifact]:
        unit = sample.unit(PackageKind.OPEN_SOURCE, driver, flavor=Flavor.OPEN)
        sources = sample.sources(driver, folder=self.top)
        return self.keep(build(render_open_source(unit, sources, sample.MATRIX), self.top))

    def make_gate(self, driver: Driver, flavor: Flavor, kmods: Kmods) -> list[Artifact]:
        known = (*sample.gate_kernels(*WITH_MODULES, d=driver, flavor=flavor),)
        kernels: tuple[GateKernel, ...] = tuple(k for k in known if k.kernel.variant == "generic")
        return self.keep(build(render_gate(sample.gate(driver, flavor, kmods), kernels, 1, sample.MATRIX), self.top))

    def write_metadata(self) -> None:
        documents = [self.document(name, artifacts) for name, artifacts in self.streams.items()]
        profiles = {name: ["default"] for name in self.streams}
        defaults = {"module": "nvidia-driver", "stream": "r535", "profiles": profiles}
        documents.append({"document": "modulemd-defaults", "version": 1, "data": defaults})
        (self.folder / "modules.yaml").write_text(yaml.safe_dump_all(documents, explicit_start=True, explicit_end=True))
        run(["createrepo_c", "-q", "--compress-type", "gz", self.folder], timeout=120)

    @staticmethod
    def document(stream: str, artifacts: list[Artifact]) -> dict[str, object]:
        packages = ["cuda-drivers", "nvidia-driver"]
        profiles = {
            "default": {"rpms": packages},
            "fm": {"rpms": [*packages, "nvidia-fabricmanager", "libnvidia-nscq"]},
            "headless": {"rpms": ["nvidia-driver-cuda"]},
            **({"src": {"rpms": ["nvidia-open-kernel-source"]}} if "open" in stream else {}),
        }
        data = {
            "name": "nvidia-driver",
            "stream": stream,
            "version": 1,
            "context": "c0",
            "arch": "x86_64",
            "summary": "x",
            "description": "x",
            "license": {"module": ["MIT"]},
            "dependencies": [{"requires": {"platform": ["el9"]}}],
            "profiles": profiles,
            "artifacts": {"rpms": sorted({a.nevra.artifact for a in artifacts})},
        }
        return {"document": "modulemd", "version": 2, "data": data}
