"""Bill of materials of a driver release in CycloneDX 1.6, by the project's own library. Pure."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from uuid import UUID, uuid5

from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, Property, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.model.contact import OrganizationalEntity
from cyclonedx.model.dependency import Dependency
from cyclonedx.model.license import DisjunctiveLicense
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL

from builder.model.release import DriverRelease, ReleasePackage, ReleaseSource

_NAMESPACE = UUID("5b0d5d5c-3f0e-5f4c-9a63-6b6f0c4f2f10")  # any fixed one: serial numbers follow from content


def sbom(release: DriverRelease) -> bytes:
    """Its RPMs with digests and licences, the sources they were made of, and which needs which; deterministic.

    Serial number and date come from the content: the library would take a random number and the clock.
    """
    driver = Component(
        type=ComponentType.DEVICE_DRIVER,
        name=release.name,
        version=release.version,
        bom_ref=f"{release.name}-{release.version}@{release.distribution}.{release.arch}",
        supplier=OrganizationalEntity(name=release.vendor),
        properties=[
            Property(name="repobuild:distribution", value=release.distribution),
            Property(name="repobuild:driver_branch", value=release.branch),
            *(Property(name="repobuild:kernel", value=kernel.release) for kernel in release.kernels),
        ],
    )
    packages = [_package(release, package) for package in release.packages]
    sources = [_source(source) for source in release.sources]
    bom = Bom(components=[*packages, *sources])
    bom.metadata.component = driver
    bom.metadata.timestamp = datetime.fromtimestamp(release.epoch, UTC)
    # All at once: the library's way of adding one walks all there are, and a release has a package for each kernel.
    of_sources = [Dependency(ref=source.bom_ref) for source in sources]
    of_packages = [Dependency(ref=package.bom_ref, dependencies=of_sources) for package in packages]
    needs = [Dependency(ref=package.bom_ref) for package in packages]
    bom.dependencies = [Dependency(ref=driver.bom_ref, dependencies=needs), *of_packages, *of_sources]
    digests = "\n".join(f"{p.nevra.filename} {p.sha256}" for p in release.packages)
    bom.serial_number = uuid5(_NAMESPACE, f"{driver.bom_ref.value}\n{digests}")
    document = json.loads(JsonV1Dot6(bom).output_as_string())
    return (json.dumps(document, indent=1, sort_keys=True) + "\n").encode()


def _package(release: DriverRelease, package: ReleasePackage) -> Component:
    nevra = package.nevra
    qualifiers = {"arch": nevra.arch, "distro": release.distribution}
    if nevra.evr.epoch:
        qualifiers["epoch"] = str(nevra.evr.epoch)
    version = f"{nevra.evr.version}-{nevra.evr.release}"
    return Component(
        type=ComponentType.APPLICATION,
        name=nevra.name,
        version=version,
        description=package.summary or None,
        bom_ref=nevra.filename,
        purl=PackageURL(type="rpm", name=nevra.name, version=version, qualifiers=qualifiers),
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=package.sha256)],
        licenses=[DisjunctiveLicense(name=package.license)] if package.license else [],
    )


def _source(source: ReleaseSource) -> Component:
    references = []
    if source.url is not None:
        references = [ExternalReference(type=ExternalReferenceType.DISTRIBUTION, url=XsUri(source.url))]
    return Component(
        type=ComponentType.FILE,
        name=source.filename,
        bom_ref=f"source:{source.filename}",
        hashes=[HashType(alg=HashAlgorithm.SHA_256, content=source.sha256)],
        external_references=references,
        properties=[Property(name="repobuild:kind", value=source.kind)],
    )
