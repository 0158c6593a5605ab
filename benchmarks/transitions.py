"""The publication gate on its own: ten streams, six kernels, every transition of a host solved."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import createrepo_c
import yaml

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides
from builder.model.cells import PackageKind
from builder.model.gate import GateKernel
from builder.model.matrix import Driver, Flavor, Kmods
from builder.model.naming import kmod_nevra
from builder.model.sources import DriverSources, SpecFile
from builder.publish import prove_transitions
from builder.render import (
    render_cuda_drivers,
    render_driver,
    render_gate,
    render_kmod,
    render_objects,
    render_open_meta,
)
from builder.tools.run import run
from tests.golden import sample

DRIVERS = tuple(sample.driver(v) for v in ("535.261.03", "550.163.01", "570.211.01", "580.126.09", "590.48.01"))
KERNELS = tuple(sample.kernel(f"5.14.0-{n}.el9.x86_64", f"5.14.0-{n}.el9") for n in (427, 503, 570, 611, 641, 687))
_FIELDS = {"REQUIRE": "requires", "PROVIDE": "provides", "CONFLICT": "conflicts", "OBSOLETE": "obsoletes"}
_SIGNS = {"<": "LT", "<=": "LE", "=": "EQ", ">=": "GE", ">": "GT"}


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    """Metadata of the real specs, read by rpmspec; no package is built, since a solver reads none."""
    folder = tmp / "publication"
    (folder / "repodata").mkdir(parents=True)
    packages: dict[str, createrepo_c.Package] = {}
    documents = []
    for driver in DRIVERS:
        for flavor in Flavor:
            found = [p for spec in _specs(driver, flavor) for p in _packages(spec, tmp)]
            packages |= {p.nevra(): p for p in found}
            documents.append(_document(f"r{driver.branch}{'-open' * (flavor is Flavor.OPEN)}", found))
    _write(folder, packages.values(), documents)
    expected = len(DRIVERS) * len(Flavor)

    def ours(_folder: Path, clock: Clock) -> Collection[str]:
        with clock.timed():
            proof = prove_transitions(folder, folder)
        if proof.faults:
            raise BenchmarkError("a transition failed", details=proof.faults)
        return [f"{expected} streams, {len(KERNELS)} kernels, {proof.transitions} transitions"]

    return Sides(ours=ours, peer=None)


def _specs(driver: Driver, flavor: Flavor) -> Iterator[SpecFile]:
    sources = _sources(driver, flavor)
    yield render_driver(sample.unit(PackageKind.DRIVER, driver), sources, sample.MATRIX)
    yield render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS, driver), sample.MATRIX)
    if flavor is Flavor.OPEN:
        yield render_open_meta(sample.unit(PackageKind.OPEN_META, driver), sample.MATRIX)
    yield render_objects(sample.unit(PackageKind.OBJECTS, driver, flavor=flavor), sources, sample.MATRIX)
    cells = [sample.cell(kernel, driver, flavor) for kernel in KERNELS]
    for cell in cells:
        yield render_kmod(cell, sources, sample.MATRIX)
    kernels = tuple(GateKernel(kernel=c.kernel, kmod=kmod_nevra(c, sample.MATRIX)) for c in cells)
    yield render_gate(sample.gate(driver, flavor, Kmods.PRECOMPILED), kernels, 1, sample.MATRIX)


def _sources(driver: Driver, flavor: Flavor) -> DriverSources:
    """Objects of each driver and flavor differ, as they do."""
    sources = sample.sources(driver)
    objects = tuple(
        replace(o, sha256=hashlib.sha256(f"{driver.version} {flavor} {o.module}".encode()).hexdigest())
        for o in sources.kernel_objects(flavor)
    )
    return replace(sources, objects=((flavor, objects),))


def _packages(spec: SpecFile, tmp: Path) -> Iterator[createrepo_c.Package]:
    path = tmp / spec.filename
    path.write_text(spec.text)
    lists = "".join(rf"[{k}\t%{{{k}NAME}}\t%{{{k}FLAGS:depflags}}\t%{{{k}VERSION}}\n]" for k in _FIELDS)
    form = r"=\t%{NAME}\t%{EPOCH}\t%{VERSION}\t%{RELEASE}\t%{ARCH}\n" + lists
    lines = run(["rpmspec", "-q", "--target", "x86_64", "--qf", form, path], timeout=60).stdout.splitlines()
    package = None
    for line in lines:
        words = [word.strip() for word in line.split("\t")]
        if words[0] == "=":
            if package is not None:
                yield package
            package = createrepo_c.Package()
            package.name, package.epoch, package.version, package.release, package.arch = words[1:]
            package.pkgId = hashlib.sha256(line.encode()).hexdigest()
            package.checksum_type, package.summary, package.description, package.url = "sha256", "x", "x", "x"
            package.location_href = f"Packages/{package.nvra()}.rpm"
        elif package is not None:
            kind, name, sign, version = words
            _add(package, _FIELDS[kind], name, sign, version)
    if package is not None:
        yield package


def _add(package: createrepo_c.Package, kind: str, name: str, sign: str, version: str) -> None:
    epoch, _, rest = version.rpartition(":")
    number, _, release = rest.partition("-")
    row = (name, _SIGNS.get(sign), epoch or ("0" if number else None), number or None, release or None, False)
    setattr(package, kind, [*getattr(package, kind), row])


def _document(stream: str, packages: Sequence[createrepo_c.Package]) -> dict[str, object]:
    data = {
        "name": "nvidia-driver",
        "stream": stream,
        "version": 1,
        "context": "c0",
        "arch": "x86_64",
        "summary": "x",
        "description": "x",
        "license": {"module": ["MIT"]},
        "profiles": {"default": {"rpms": ["cuda-drivers", "nvidia-driver"]}},
        "artifacts": {"rpms": sorted({p.nevra() for p in packages})},
    }
    return {"document": "modulemd", "version": 2, "data": data}


def _write(folder: Path, packages: Iterable[createrepo_c.Package], documents: list[dict[str, object]]) -> None:
    primary, modules = folder / "repodata/primary.xml.gz", folder / "repodata/modules.yaml.gz"
    writer = createrepo_c.PrimaryXmlFile(str(primary), createrepo_c.GZ_COMPRESSION)
    listed = list(packages)
    writer.set_num_of_pkgs(len(listed))
    for package in listed:
        writer.add_pkg(package)
    writer.close()
    profiles = {str(d["data"]["stream"]): ["default"] for d in documents}  # type: ignore[index]
    defaults = {"module": "nvidia-driver", "stream": f"r{DRIVERS[0].branch}", "profiles": profiles}
    documents.append({"document": "modulemd-defaults", "version": 1, "data": defaults})
    modules.write_bytes(gzip.compress(yaml.safe_dump_all(documents, explicit_start=True).encode()))
    repomd = createrepo_c.Repomd()
    for kind, path in (("primary", primary), ("modules", modules)):
        record = createrepo_c.RepomdRecord(kind, str(path))
        record.fill(createrepo_c.SHA256)
        repomd.set_record(record)
    (folder / "repodata/repomd.xml").write_text(repomd.xml_dump())


TRANSITIONS = Benchmark(
    name="transitions",
    work=f"publication gate: {len(DRIVERS) * len(Flavor)} streams × {len(KERNELS)} kernels, every transition solved",
    peer="none",
    note="Reading the metadata of both publications and solving; the aim is at most 60 s on 2 processors.",
    prepare=_prepare,
)
