"""Provenance and SBOM say what was recorded, in the forms that others read, and nothing else."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from builder.model.nevra import Evr, Nevra
from builder.model.release import DriverRelease, ReleaseKernel, ReleasePackage, ReleaseSource, ReleaseUnit
from builder.report import provenance
from builder.report.provenance import Statement
from builder.report.sbom import sbom


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()


def package(name: str, release: str, arch: str = "x86_64") -> ReleasePackage:
    nevra = Nevra(name=name, evr=Evr(epoch=3, version="535.261.03", release=release), arch=arch)
    return ReleasePackage(
        nevra=nevra, sha256=digest(name), size=7, license="NVIDIA and MIT", summary="NVIDIA kernel modules & more"
    )


KMOD = ReleaseUnit(
    id="r535-open@6.1.0-47-amd64",
    key=digest("key"),
    serial=2,
    builder="buildroot 1",
    spec=digest("spec"),
    sources=(("nvidia-kmod-535.261.03-open.tar.gz", digest("tree")),),
    buildroot=digest("root"),
    kernel="6.1.0-47-amd64",
    packages=(package("kmod-nvidia-6.1.0-47-amd64", "2.open.el9"),),
)
UNRECORDED = ReleaseUnit(
    id="nvidia-driver:535.261.03@el9.x86_64",
    key=digest("other"),
    serial=1,
    builder=None,
    spec=None,
    sources=(),
    buildroot=None,
    kernel=None,
    packages=(package("nvidia-driver", "1.el9"), package("nvidia-driver-libs", "1.el9", "i686")),
)
RELEASE = DriverRelease(
    name="nvidia-driver",
    vendor="Example",
    version="535.261.03",
    branch="535",
    distribution="el9",
    dist_tag=".el9",
    arch="x86_64",
    epoch=1_700_000_000,
    sources=(
        ReleaseSource(
            filename="NVIDIA-Linux-x86_64-535.261.03.run",
            kind="run",
            url="https://example.org/NVIDIA-Linux-x86_64-535.261.03.run",
            sha256=digest("run"),
            size=9,
        ),
        ReleaseSource(filename="local.tar.xz", kind="fabricmanager", url=None, sha256=digest("local"), size=3),
    ),
    kernels=(
        ReleaseKernel(
            release="6.1.0-47-amd64",
            package="kernel-devel-6.1.0-47",
            sha256=digest("devel"),
            compiler="gcc-12 (12.2.0)",
        ),
    ),
    units=(KMOD, UNRECORDED),
    buildroots=((digest("root"), ("gcc-12.2.0-14.x86_64 aa", "rpm-4.18-1.x86_64 bb")),),
)


def test_a_statement_names_each_published_package_and_all_that_it_was_made_of() -> None:
    statement = json.loads(provenance(RELEASE))
    assert (statement["_type"], statement["predicateType"]) == (
        "https://in-toto.io/Statement/v1",
        "https://slsa.dev/provenance/v1",
    )
    assert {s["name"]: s["digest"]["sha256"] for s in statement["subject"]} == {
        p.nevra.filename: p.sha256 for p in (*KMOD.packages, *UNRECORDED.packages)
    }
    definition = statement["predicate"]["buildDefinition"]
    assert definition["externalParameters"]["kernels"] == ["6.1.0-47-amd64"]
    dependencies = {d["name"]: d for d in definition["resolvedDependencies"]}
    run = dependencies["NVIDIA-Linux-x86_64-535.261.03.run"]
    assert (run["uri"], run["digest"]["sha256"]) == (RELEASE.sources[0].url, digest("run"))
    assert "uri" not in dependencies["local.tar.xz"]
    assert dependencies["kernel-devel-6.1.0-47"]["annotations"]["compiler"] == "gcc-12 (12.2.0)"
    assert dependencies["buildroot"]["annotations"]["packages"][0].startswith("gcc-12.2.0")
    assert statement["predicate"]["runDetails"]["builder"]["id"] == "urn:repobuild:builder:buildroot-1"


def test_what_was_not_recorded_is_left_out_and_not_made_up() -> None:
    units = json.loads(provenance(RELEASE))["predicate"]["buildDefinition"]["internalParameters"]["units"]
    assert set(units[KMOD.id]) == {
        "key", "serial", "builder", "spec_sha256", "buildroot", "kernel", "sources", "packages",
    }  # fmt: skip
    assert set(units[UNRECORDED.id]) == {"key", "serial", "packages"}
    nothing = replace(RELEASE, units=(UNRECORDED,), kernels=(), buildroots=())
    statement = json.loads(provenance(nothing))
    assert statement["predicate"]["runDetails"]["builder"]["id"] == "urn:repobuild:builder:unrecorded"


def test_a_statement_is_read_back_by_its_own_schema_and_has_one_form() -> None:
    data = provenance(RELEASE)
    Statement.model_validate_json(data)
    assert provenance(RELEASE) == data
    assert data == (json.dumps(json.loads(data), sort_keys=True, separators=(",", ":")) + "\n").encode()


def test_a_bill_of_materials_is_valid_cyclonedx_and_has_one_form() -> None:
    data = sbom(RELEASE)
    assert sbom(RELEASE) == data
    fault = JsonStrictValidator(SchemaVersion.V1_6).validate_str(data.decode())
    assert fault is None, repr(fault)[:500]
    document = json.loads(data)
    assert document["metadata"]["component"]["type"] == "device-driver"
    assert document["metadata"]["timestamp"] == "2023-11-14T22:13:20+00:00"
    components = {c["bom-ref"]: c for c in document["components"]}
    kmod = components["kmod-nvidia-6.1.0-47-amd64-535.261.03-2.open.el9.x86_64.rpm"]
    assert kmod["hashes"] == [{"alg": "SHA-256", "content": digest("kmod-nvidia-6.1.0-47-amd64")}]
    assert kmod["licenses"] == [{"license": {"name": "NVIDIA and MIT"}}]
    assert kmod["purl"] == ("pkg:rpm/kmod-nvidia-6.1.0-47-amd64@535.261.03-2.open.el9?arch=x86_64&distro=el9&epoch=3")
    needs = {d["ref"]: d.get("dependsOn", []) for d in document["dependencies"]}
    assert "source:NVIDIA-Linux-x86_64-535.261.03.run" in needs[kmod["bom-ref"]]
    assert needs["nvidia-driver-535.261.03@el9.x86_64"] == sorted(p.nevra.filename for p in RELEASE.packages)


def test_other_packages_make_another_serial_number() -> None:
    first, second = (json.loads(sbom(r)) for r in (RELEASE, replace(RELEASE, units=(KMOD,))))
    assert first["serialNumber"] != second["serialNumber"]
