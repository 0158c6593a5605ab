"""Advisories as real dnf shows and installs them, where there are module streams and where there are none."""

from __future__ import annotations

import gzip
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import VerifyError
from builder.model.cells import Artifact
from builder.model.errata import Advisory, AdvisoryCollection, AdvisoryKind, Severity
from builder.model.matrix import Delivery
from builder.model.publication import PublicationContent
from builder.publish import verify_publication, with_errata
from builder.publish.errata import updateinfo_of
from builder.tools.createrepo import read_repomd
from tests.need import need, need_root
from tests.tools.publishing import (
    EPOCH,
    REQUIRES,
    Shop,
    content_of,
    content_without_modules,
    make_rpms,
    put_path,
    sign_all,
    stream,
    two_streams,
)
from tests.tools.test_publish_client import Client

CVE = "CVE-2025-23277"
DRIVER_ID = "LAB-lab9-535.274.02"
KERNEL_ID = "LAB-lab9-kernel-6.1.0-50"
NEWER = (
    ("nvidia-driver", "3", "535.274.02", "1.lab9"),
    ("nvidia-kmod-common", "3", "535.274.02", "7.open.lab9"),
    ("nvidia-kmod-common", "3", "535.274.02", "8.open.lab9"),
    ("nvidia-driver-release", "3", "535.261.03", "1.lab9"),
    ("nvidia-driver-release", "3", "535.274.02", "1.lab9"),
    ("kmod-nvidia-6.1.0-50", "3", "535.274.02", "1.open.lab9"),
)


@pytest.fixture(scope="module")
def rpms(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Artifact]:
    """Those of the session and a newer driver with a gate before and after a kernel came."""
    folder = tmp_path_factory.mktemp("errata")
    newer = sign_all(shop.signer, make_rpms(folder / "rpms", NEWER, requires=REQUIRES), folder / "signed")
    return {**shop.rpms, **newer}


def advisory(kind: AdvisoryKind, name: str, *artifacts: Artifact, security: bool = True) -> Advisory:
    """As planned for r535-open and, where it has these packages too, nothing else."""
    packages = tuple(sorted((a.nevra for a in artifacts), key=str))
    return Advisory(
        id=name,
        kind=kind,
        title=f"About {name} <&>",
        description="What it is about.",
        issued=EPOCH,
        vendor="repobuild lab",
        release="Lab 9",
        collections=(AdvisoryCollection(stream="r535-open", packages=packages),),
        severity=Severity.IMPORTANT if security else None,
        cves=(CVE,) if security else (),
        references=("https://example.com/bulletin",),
    )


def contents(rpms: dict[str, Artifact]) -> tuple[PublicationContent, PublicationContent, PublicationContent]:
    """Three states: the old driver; the new one, beside it; and a kernel with the gate that lets it in."""
    old = two_streams({n: a for n, a in rpms.items() if "535.274" not in n and "release" not in n})
    latest = next(part for part in old.streams if part.stream.name == "latest")
    at = [a for name, a in sorted(rpms.items()) if "535." in name and a.nevra.name != "nvidia-driver-release"]
    first = [a for a in at if a.nevra.name != "kmod-nvidia-6.1.0-50" and "8.open" not in a.nevra.evr.release]

    def of(artifacts: list[Artifact]) -> PublicationContent:
        rows = [(stream("r535-open"), ["535.261.03", "535.274.02"], artifacts)]
        return content_of([(latest.stream, ["550.163.01"], list(latest.artifacts)), *rows])

    return old, of(first), of(at)


def planned(rpms: dict[str, Artifact]) -> list[Advisory]:
    driver = advisory(AdvisoryKind.DRIVER, DRIVER_ID, rpms["nvidia-driver-535.274.02-1.lab9"])
    kmod, gate = rpms["kmod-nvidia-6.1.0-50-535.274.02-1.open.lab9"], rpms["nvidia-kmod-common-535.274.02-8.open.lab9"]
    return [driver, advisory(AdvisoryKind.KERNEL, KERNEL_ID, kmod, gate, security=False)]


def updateinfo(folder: Path) -> bytes:
    (record,) = (r for r in read_repomd(folder / "repodata/repomd.xml") if r.type == "updateinfo")
    return gzip.decompress((folder / record.href).read_bytes())


def entry(document: bytes, name: str) -> bytes:
    """One advisory's own bytes."""
    (found,) = (part for part in document.split(b"<update ") if f"<id>{name}</id>".encode() in part)
    return found.partition(b"</update>")[0]


@pytest.fixture
def site(shop: Shop, rpms: dict[str, Artifact], tmp_path: Path) -> Iterator[tuple[Path, Client]]:
    """A repository with the old driver, and a host that has it from its stream."""
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    repo = tmp_path / "repo"
    put_path(shop, contents(rpms)[0], repo)
    key = tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    client = Client(tmp_path / "client", (repo / "lab9/x86_64").as_uri(), key)
    client.dnf("module", "install", "nvidia-driver:r535-open")
    yield repo, client
    client.close()


def test_hosts_are_told_of_what_their_stream_brings_and_take_it_by_cve_or_advisory(
    shop: Shop, rpms: dict[str, Artifact], site: tuple[Path, Client]
) -> None:
    repo, client = site
    driver, kernel = planned(rpms)
    put_path(shop, with_errata(contents(rpms)[1], [driver], repo), repo)
    before = updateinfo(repo / "lab9/x86_64")
    listed = client.dnf("--refresh", "updateinfo", "list").stdout
    assert f"{DRIVER_ID} Important/Sec. nvidia-driver-3:535.274.02-1.lab9.x86_64" in listed
    said = client.dnf("updateinfo", "info", "--security").stdout
    assert CVE in said
    assert "Severity: Important" in said
    assert f"About {DRIVER_ID} <&>" in said
    client.dnf("upgrade", "--cve", CVE)
    assert client.installed() == {"nvidia-driver-535.274.02-1.lab9", "nvidia-kmod-common-535.274.02-7.open.lab9"}
    # A kernel comes: the stream's module is another build now, and what was issued stands as it did.
    later = replace(driver, issued=EPOCH + 1)
    put_path(shop, with_errata(contents(rpms)[2], [later, kernel], repo), repo)
    after = updateinfo(repo / "lab9/x86_64")
    assert entry(after, DRIVER_ID) == entry(before, DRIVER_ID)
    listed = client.dnf("--refresh", "updateinfo", "list").stdout
    assert f"{KERNEL_ID} enhancement nvidia-kmod-common-3:535.274.02-8.open.lab9.x86_64" in listed
    assert DRIVER_ID not in listed  # it has that
    assert DRIVER_ID in client.dnf("updateinfo", "list", "--installed").stdout
    client.dnf("upgrade", "--advisory", KERNEL_ID)
    assert "nvidia-kmod-common-535.274.02-8.open.lab9" in client.installed()
    assert DRIVER_ID in client.dnf("updateinfo", "list", "--installed").stdout
    client.dnf("module", "reset", "nvidia-driver")  # of another stream, or none: not told
    assert DRIVER_ID not in client.dnf("updateinfo", "list", "--installed").stdout


def test_where_there_are_no_modules_each_stream_tells_its_own_hosts(
    shop: Shop, rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    repo = tmp_path / "repo"

    def put(number: int, errata: list[Advisory]) -> Path:
        (part,) = (p for p in contents(rpms)[number].streams if p.stream.name == "r535-open")
        releases = [rpms["nvidia-driver-release-535.261.03-1.lab9"]]
        releases += [rpms["nvidia-driver-release-535.274.02-1.lab9"]] if number else []
        whole = replace(part, artifacts=tuple(sorted((*part.artifacts, *releases), key=lambda a: str(a.nevra))))
        content = content_without_modules("lab9", Delivery.BRANCH_REPOS, [whole])
        return put_path(shop, with_errata(content, errata, repo), repo)

    put(0, [])
    key = tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    client = Client(tmp_path / "client", (repo / "lab9/x86_64/streams/r535-open").as_uri(), key)
    client.dnf("install", "nvidia-driver")
    driver, kernel = planned(rpms)
    first = put(1, [driver])
    client.dnf("--refresh", "upgrade", "--security")
    assert "nvidia-driver-535.274.02-1.lab9" in client.installed()
    client.close()
    second = put(2, [driver, kernel])
    document = updateinfo(second / "streams/r535-open")
    assert b"<module" not in document
    assert entry(document, DRIVER_ID) == entry(updateinfo(first / "streams/r535-open"), DRIVER_ID)


def test_streams_in_package_names_share_one_document_that_names_no_module(
    rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    content = content_without_modules("lab9", Delivery.BRANCH_PACKAGES, contents(rpms)[2].streams)
    document = updateinfo_of(with_errata(content, planned(rpms), tmp_path / "repo"))
    assert document is not None
    assert b"<module" not in document
    assert {DRIVER_ID.encode(), KERNEL_ID.encode()} <= set(document.replace(b"<", b">").split(b">"))
    assert updateinfo_of(with_errata(content, planned(rpms), tmp_path / "repo"), "latest") is None


def test_the_same_errata_are_the_same_bytes_and_a_publication_of_its_own(
    shop: Shop, rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    content = contents(rpms)[1]
    driver = planned(rpms)[0]
    one = put_path(shop, with_errata(content, [driver], tmp_path / "one"), tmp_path / "one")
    again = put_path(shop, with_errata(content, [driver], tmp_path / "one"), tmp_path / "one")
    other = put_path(shop, with_errata(content, [driver], tmp_path / "two"), tmp_path / "two")
    assert one == again
    assert one.name == other.name
    assert updateinfo(one) == updateinfo(other)
    worse = replace(driver, severity=Severity.CRITICAL)
    assert put_path(shop, with_errata(content, [worse], tmp_path / "one"), tmp_path / "one") != one
    (tmp_path / "tmp-one").mkdir()
    report = verify_publication(one.as_uri(), shop.signer.public_key(), tmp_path / "tmp-one")
    assert report.metadata == 5


def test_a_collection_is_made_again_where_its_stream_went_back(
    shop: Shop, rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    driver, kernel = planned(rpms)
    put_path(shop, with_errata(contents(rpms)[2], [driver, kernel], repo), repo)
    back = replace(driver, collections=())  # the matrix names it, no stream carries it now
    assert with_errata(contents(rpms)[0], [back], repo).advisories == ()
    kept = with_errata(contents(rpms)[2], [back], repo).advisories  # the stream has it, or what came after it
    assert [c.packages for a in kept for c in a.collections] == [driver.collections[0].packages]


def test_a_damaged_updateinfo_is_reported_and_harms_no_later_publication(
    shop: Shop, rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    driver = planned(rpms)[0]
    made = put_path(shop, with_errata(contents(rpms)[1], [driver], repo), repo)
    (record,) = (r for r in read_repomd(made / "repodata/repomd.xml") if r.type == "updateinfo")
    (made / record.href).write_bytes(b"rubbish")
    assert len(with_errata(contents(rpms)[1], [driver], repo).advisories) == 1
    (tmp_path / "tmp").mkdir()
    with pytest.raises(VerifyError, match="is not the updateinfo file that"):
        verify_publication(made.as_uri(), shop.signer.public_key(), tmp_path / "tmp")


def test_verify_refuses_an_advisory_that_its_stream_cannot_fulfil(
    shop: Shop, rpms: dict[str, Artifact], tmp_path: Path
) -> None:
    driver = planned(rpms)[0]
    lost = replace(driver, id="LAB-nobody", collections=(replace(driver.collections[0], stream="r470"),))
    content = replace(contents(rpms)[0], advisories=(driver, driver, lost))  # the stream has the former driver alone
    made = put_path(shop, content, tmp_path / "repo")
    (tmp_path / "tmp").mkdir()
    with pytest.raises(VerifyError) as caught:
        verify_publication(made.as_uri(), shop.signer.public_key(), tmp_path / "tmp")
    said = "\n".join(caught.value.details)
    assert f"{DRIVER_ID}: stands there more than once" in said
    assert f"{DRIVER_ID}: asks for packages that stream r535-open does not have, nor newer ones" in said
    assert "LAB-nobody: is about stream r470, which is not there" in said
