"""Provenance and SBOM of each published driver release, from what was recorded while it was built."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path

from builder.model.cells import Artifact, BuildResult
from builder.model.keys import Inputs
from builder.model.matrix import Distribution, Driver, Kernel
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.release import (
    DriverRelease,
    ReleaseKernel,
    ReleasePackage,
    ReleaseSource,
    ReleaseUnit,
)
from builder.pipeline.orders import identity
from builder.pipeline.workshop import Workshop, known
from builder.plan.streams import units_of_stream
from builder.report import provenance
from builder.sign import Signer
from builder.store import read_inputs
from builder.tools.rpms import read_header

_BILL = "sbom"  # what is kept of releases by their content
_TEXTS = "texts"  # what is kept of RPMs by their sha256: json [licence, summary]


def attestation_files(
    shop: Workshop,
    signer: Signer,
    distribution: Distribution,
    arch: str,
    streams: Sequence[StreamPlan],
    outcomes: Mapping[str, UnitOutcome],
    signed: Mapping[str, Artifact],
) -> tuple[tuple[str, bytes], ...]:
    """``<module>-<version>.provenance.json`` with its detached signature and ``….cdx.json``, for each driver version
    that a stream carries; deterministic.
    """
    drivers = {driver.version: driver for plan in streams for driver in plan.drivers}
    files: list[tuple[str, bytes]] = []
    units = {o.unit.id: o for plan in streams for o in units_of_stream(plan, outcomes)}
    for number, driver in sorted(drivers.items()):
        own = [o for _, o in sorted(units.items()) if o.unit.driver.version == number and o.result is not None]
        release = _release(shop, distribution, arch, driver, own, signed)
        name = f"{release.name}-{number}"
        if not _all_known(release, driver, arch):
            published = _published(shop, signer, distribution, arch, name, release)
            if published:
                files += published
                continue
        data = provenance(release)
        signature = _signature(shop, signer, distribution, arch, f"{name}.provenance.json", data, release.epoch)
        files += [
            (f"{name}.provenance.json", data),
            (f"{name}.provenance.json.asc", signature),
            (f"{name}.cdx.json", _bill(shop, release)),
        ]
    return tuple(files)


def _bill(shop: Workshop, release: DriverRelease) -> bytes:
    """Its SBOM: the library takes seconds for thousands of packages, so what this very program made of it is kept."""
    key = hashlib.sha256(f"{identity()} {version('cyclonedx-python-lib')} {release!r}".encode()).hexdigest()
    found = shop.store.derived.get(_BILL, [key])
    if key not in found:
        from builder.report.sbom import sbom  # noqa: PLC0415  its library takes longer to import than all else here

        found = {key: sbom(release)}
        shop.store.derived.put(_BILL, found)
    return found[key]


def _all_known(release: DriverRelease, driver: Driver, arch: str) -> bool:
    """Whether this run knows what one that builds knows: a pin may be lost, a kernel of reused cells not looked at."""
    wanted = [source for source in driver.sources if source.arch in (arch, "noarch")]
    return len(release.sources) == len(wanted) and not any(k.sha256 and not k.compiler for k in release.kernels)


def _published(
    shop: Workshop, signer: Signer, distribution: Distribution, arch: str, name: str, release: DriverRelease
) -> list[tuple[str, bytes]]:
    """What the current publication says of the same packages, signed by this key; nothing where it says nothing."""
    current = shop.settings.repo_path / distribution.name / arch
    places = [current / f"{name}.{end}" for end in ("provenance.json", "provenance.json.asc", "cdx.json")]
    if not all(place.is_file() for place in places):
        return []
    statement, signature, bill = (place.read_bytes() for place in places)
    try:
        subjects = {row["name"]: row["digest"]["sha256"] for row in json.loads(statement)["subject"]}
    except (ValueError, KeyError, TypeError):
        return []
    same = subjects == {p.nevra.filename: p.sha256 for p in release.packages}
    if not same or not signer.made(signature, places[0]):
        return []
    return [(place.name, data) for place, data in zip(places, (statement, signature, bill), strict=True)]


def _signature(
    shop: Workshop, signer: Signer, distribution: Distribution, arch: str, name: str, data: bytes, epoch: int
) -> bytes:
    """That of the current publication where it holds the same bytes signed by this key; a new one otherwise."""
    current = shop.settings.repo_path / distribution.name / arch
    place, old = current / name, current / f"{name}.asc"
    if place.is_file() and old.is_file() and place.read_bytes() == data:
        signature = old.read_bytes()
        if signer.made(signature, place):
            return signature
    with tempfile.TemporaryDirectory() as tmp:
        written = Path(tmp) / name
        written.write_bytes(data)
        return signer.sign_detached(written, epoch=epoch)


def _release(
    shop: Workshop,
    distribution: Distribution,
    arch: str,
    driver: Driver,
    outcomes: Sequence[UnitOutcome],
    signed: Mapping[str, Artifact],
) -> DriverRelease:
    matrix = shop.configuration.matrix
    built = [(o, o.result, read_inputs(o.result.folder)) for o in outcomes if o.result is not None]
    kernels = {
        o.unit.cell.kernel.release: _kernel(shop, distribution, o.unit.cell.kernel, inputs)
        for o, _, inputs in built
        if o.unit.cell is not None
    }
    texts = _texts(shop, [signed[artifact.sha256] for _, result, _ in built for artifact in result.artifacts])
    roots = {inputs.parts.buildroot: inputs.packages for _, _, inputs in built if inputs is not None}
    return DriverRelease(
        name=matrix.module,
        vendor=matrix.vendor,
        version=driver.version,
        branch=driver.branch,
        distribution=distribution.name,
        dist_tag=distribution.dist_tag,
        arch=arch,
        epoch=max((result.source_date_epoch for _, result, _ in built), default=0),
        sources=_sources(shop, driver, arch),
        kernels=tuple(kernel for _, kernel in sorted(kernels.items())),
        units=tuple(_unit(o, result, inputs, signed, texts) for o, result, inputs in built),
        buildroots=tuple(sorted(roots.items())),
    )


def _sources(shop: Workshop, driver: Driver, arch: str) -> tuple[ReleaseSource, ...]:
    found = []
    for source in driver.sources:
        pin = shop.configuration.lock.pin(source.url)
        if pin is not None and source.arch in (arch, "noarch"):
            # A path says nothing to others, and differs between machines that publish the same.
            url = source.url if source.url.startswith(("https://", "http://")) else None
            found.append(
                ReleaseSource(filename=source.filename, kind=source.kind, url=url, sha256=pin.sha256, size=pin.size)
            )
    return tuple(sorted(found, key=lambda source: source.filename))


def _kernel(shop: Workshop, distribution: Distribution, kernel: Kernel, inputs: Inputs | None) -> ReleaseKernel:
    recorded = inputs.modules.devel if inputs is not None and inputs.modules is not None else None
    devel = known(shop.facts.kernels.get((distribution.name, kernel.release)))
    return ReleaseKernel(
        release=kernel.release,
        package=f"{kernel.devel.name}-{kernel.devel.evr}",
        sha256=recorded,
        compiler=devel.compiler_text if devel is not None and devel.sha256 == recorded else None,
    )


def _unit(
    outcome: UnitOutcome,
    result: BuildResult,
    inputs: Inputs | None,
    signed: Mapping[str, Artifact],
    texts: Mapping[str, tuple[str, str]],
) -> ReleaseUnit:
    parts = inputs.parts if inputs is not None else None
    made = inputs.modules if inputs is not None and inputs.modules is not None else parts
    return ReleaseUnit(
        id=outcome.unit.id,
        key=result.key,
        serial=result.serial,
        builder=parts.recipe if parts else None,
        spec=hashlib.sha256(parts.spec.encode()).hexdigest() if parts else None,
        sources=made.sources if made else (),
        buildroot=parts.buildroot if parts else None,
        kernel=outcome.unit.cell.kernel.release if outcome.unit.cell else None,
        packages=tuple(_package(signed[artifact.sha256], texts) for artifact in result.artifacts),
    )


def _texts(shop: Workshop, artifacts: Sequence[Artifact]) -> dict[str, tuple[str, str]]:
    """Licence and summary of RPMs by their sha256; what was read of a header is kept, as bytes do not change."""
    known = shop.store.derived.get(_TEXTS, [artifact.sha256 for artifact in artifacts])
    fresh = {}
    for artifact in artifacts:
        if artifact.sha256 not in known:
            header = read_header(artifact.path)
            fresh[artifact.sha256] = json.dumps([header.license, header.summary]).encode()
    shop.store.derived.put(_TEXTS, fresh)
    rows = {sha256: json.loads(row) for sha256, row in (known | fresh).items()}
    return {sha256: (licence, summary) for sha256, (licence, summary) in rows.items()}


def _package(artifact: Artifact, texts: Mapping[str, tuple[str, str]]) -> ReleasePackage:
    licence, summary = texts[artifact.sha256]
    return ReleasePackage(
        nevra=artifact.nevra, sha256=artifact.sha256, size=artifact.size, license=licence, summary=summary
    )
