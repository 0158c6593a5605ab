"""Provenance of a driver release: an in-toto statement (v1) with SLSA's build provenance (v1) as its predicate. Pure.

https://github.com/in-toto/attestation/blob/main/spec/v1/statement.md, https://slsa.dev/spec/v1.0/provenance. It says
what was recorded when each package was built, and leaves out what was not: who asked, when, and on which machine,
because the same inputs give the same bytes whoever builds them (docs/integrity.md).
"""

from __future__ import annotations

import json
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from builder.model.release import DriverRelease, ReleaseUnit

_BUILDER = "urn:repobuild:builder:"
_UNKNOWN = "unrecorded"


class _Part(BaseModel):
    model_config = ConfigDict(
        defer_build=True, extra="forbid", frozen=True, use_attribute_docstrings=True, populate_by_name=True
    )


class Digest(_Part):
    """Digests by algorithm."""

    sha256: Annotated[str, Field(pattern="^[0-9a-f]{64}$")]


class Resource(_Part):
    """Something with a digest: in-toto's ResourceDescriptor."""

    name: str
    uri: str | None = None
    digest: Digest
    annotations: dict[str, Any] | None = None


class BuildDefinition(_Part):
    """What was built of what."""

    buildType: Literal["urn:repobuild:build:v1"]  # noqa: N815  SLSA's name
    externalParameters: dict[str, Any]  # noqa: N815
    """What matrix.yaml asks for: distribution, arch, driver, kernels, cells and packages."""
    internalParameters: dict[str, Any]  # noqa: N815
    """Each build: the digest of all its inputs, the rendered spec's, its sources', its buildroot, its serial."""
    resolvedDependencies: list[Resource]  # noqa: N815
    """Sources, kernel-devel packages, buildroots with their packages."""


class Builder(_Part):
    """Who is to be trusted with it."""

    id: str


class RunDetails(_Part):
    """By what it was built."""

    builder: Builder


class Predicate(_Part):
    """SLSA's build provenance."""

    buildDefinition: BuildDefinition  # noqa: N815
    runDetails: RunDetails  # noqa: N815


class Statement(_Part):
    """One driver release of one distribution × arch: `<module>-<version>.provenance.json` in its publication."""

    type: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: Annotated[list[Resource], Field(min_length=1)]
    """The published, signed RPMs."""
    predicateType: Literal["https://slsa.dev/provenance/v1"]  # noqa: N815
    predicate: Predicate


def provenance(release: DriverRelease) -> bytes:
    """The statement as canonical JSON, in one line, as signatures are made of it."""
    builders = sorted({unit.builder for unit in release.units if unit.builder} or {_UNKNOWN})
    statement = Statement(
        _type="https://in-toto.io/Statement/v1",
        subject=[Resource(name=p.nevra.filename, digest=Digest(sha256=p.sha256)) for p in release.packages],
        predicateType="https://slsa.dev/provenance/v1",
        predicate=Predicate(
            buildDefinition=BuildDefinition(
                buildType="urn:repobuild:build:v1",
                externalParameters={
                    "distribution": release.distribution,
                    "arch": release.arch,
                    "driver_version": release.version,
                    "driver_branch": release.branch,
                    "kernels": [kernel.release for kernel in release.kernels],
                    "units": [unit.id for unit in release.units],
                },
                internalParameters={"units": {unit.id: _build(unit) for unit in release.units}},
                resolvedDependencies=[*_sources(release), *_kernels(release), *_buildroots(release)],
            ),
            runDetails=RunDetails(builder=Builder(id=_BUILDER + "+".join(b.replace(" ", "-") for b in builders))),
        ),
    )
    document = statement.model_dump(by_alias=True, exclude_none=True)
    return (json.dumps(document, sort_keys=True, separators=(",", ":")) + "\n").encode()


def _build(unit: ReleaseUnit) -> dict[str, Any]:
    found = {
        "key": unit.key,
        "serial": unit.serial,
        "builder": unit.builder,
        "spec_sha256": unit.spec,
        "buildroot": unit.buildroot,
        "kernel": unit.kernel,
        "sources": dict(unit.sources) or None,
        "packages": [package.nevra.filename for package in unit.packages],
    }
    return {name: value for name, value in found.items() if value is not None}


def _sources(release: DriverRelease) -> list[Resource]:
    return [
        Resource(
            name=source.filename,
            uri=source.url,
            digest=Digest(sha256=source.sha256),
            annotations={"kind": source.kind, "size": source.size},
        )
        for source in release.sources
    ]


def _kernels(release: DriverRelease) -> list[Resource]:
    return [
        Resource(
            name=kernel.package,
            digest=Digest(sha256=kernel.sha256),
            annotations={
                "kernel_release": kernel.release,
                **({"compiler": kernel.compiler} if kernel.compiler else {}),
            },
        )
        for kernel in release.kernels
        if kernel.sha256 is not None
    ]


def _buildroots(release: DriverRelease) -> list[Resource]:
    return [
        Resource(name="buildroot", digest=Digest(sha256=identity), annotations={"packages": list(packages)})
        for identity, packages in release.buildroots
    ]


def provenance_schema() -> dict[str, Any]:
    """JSON Schema (2020-12) of the statement."""
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **Statement.model_json_schema(by_alias=True)}
