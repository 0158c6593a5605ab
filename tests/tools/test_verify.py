"""Every planted fault of a published repository is found with nothing but its address and the public key."""

from __future__ import annotations

import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.errors import VerifyError
from builder.publish import verify_publication
from builder.publish.modulemd import content_context
from builder.tools.createrepo import write_metadata
from tests.tools.publishing import EPOCH, Shop, content_of, make_rpms, put_path, sign_all, stream
from tests.tools.serving import served
from tests.tools.tampering import alter_modules, alter_repomd, flip, overwrite, reindex, resign

DRIVER = "Packages/n/nvidia-driver-535.261.03-1.lab9.x86_64.rpm"


@pytest.fixture
def repo(shop: Shop, tmp_path: Path) -> Path:
    """A copy that a test may harm."""
    shutil.copytree(shop.published, tmp_path / "repo")
    return tmp_path / "repo"


def look(location: str | Path, shop: Shop, tmp_path: Path, with_repos: Sequence[str] = ()) -> tuple[str, ...]:
    """Details of the VerifyError, nothing when all is well."""
    tmp = tmp_path / f"look-{len(list(tmp_path.iterdir()))}"
    tmp.mkdir()
    try:
        verify_publication(str(location), shop.signer.public_key(), tmp, with_repos=with_repos)
    except VerifyError as exc:
        return exc.details if exc.message.startswith(str(location)) else (f"of something else: {exc.message}",)
    return ()


def test_a_whole_repository_has_no_fault_by_path_by_file_url_and_after_reindexing(
    shop: Shop, repo: Path, tmp_path: Path
) -> None:
    assert look(repo, shop, tmp_path) == ()
    assert look(repo.as_uri(), shop, tmp_path) == ()
    reindex(shop.signer, repo)  # the planting tool itself plants nothing
    assert look(repo, shop, tmp_path) == ()


def test_a_flipped_byte_in_an_rpm(shop: Shop, repo: Path, tmp_path: Path) -> None:
    flip(repo / DRIVER)
    details = look(repo, shop, tmp_path)
    assert f"{DRIVER}: checksum differs from the metadata" in details
    assert any(d.startswith(f"{DRIVER}: altered:") for d in details)


def test_an_rpm_altered_under_resigned_metadata(shop: Shop, repo: Path, tmp_path: Path) -> None:
    flip(repo / DRIVER)
    reindex(shop.signer, repo)
    (fault,) = look(repo, shop, tmp_path)
    assert fault.startswith(f"{DRIVER}: altered:")


def test_an_unsigned_rpm_under_good_metadata(shop: Shop, repo: Path, tmp_path: Path) -> None:
    overwrite(repo / DRIVER, shop.unsigned["nvidia-driver-535.261.03-1.lab9"].path.read_bytes())
    reindex(shop.signer, repo)
    assert look(repo, shop, tmp_path) == (f"{DRIVER}: not signed",)


def test_an_rpm_signed_by_a_foreign_key_under_good_metadata(shop: Shop, repo: Path, tmp_path: Path) -> None:
    theirs = sign_all(shop.foreign, shop.unsigned, tmp_path / "foreign")
    overwrite(repo / DRIVER, theirs["nvidia-driver-535.261.03-1.lab9"].path.read_bytes())
    reindex(shop.signer, repo)
    assert look(repo, shop, tmp_path) == (f"{DRIVER}: signed by another key",)


def test_an_altered_modules_file(shop: Shop, repo: Path, tmp_path: Path) -> None:
    alter_modules(repo)
    (fault,) = look(repo, shop, tmp_path)
    assert "is not the modules file that repomd.xml names" in fault


def test_an_altered_repomd(shop: Shop, repo: Path, tmp_path: Path) -> None:
    alter_repomd(repo)
    assert look(repo, shop, tmp_path) == ("repodata/repomd.xml: the signed bytes were altered",)


def test_a_missing_signature_of_repomd(shop: Shop, repo: Path, tmp_path: Path) -> None:
    (repo / "repodata/repomd.xml.asc").unlink()
    assert look(repo, shop, tmp_path) == ("repodata/repomd.xml.asc: missing",)


def test_a_repomd_under_a_foreign_key(shop: Shop, repo: Path, tmp_path: Path) -> None:
    resign(shop.foreign, repo)
    assert look(repo, shop, tmp_path) == ("repodata/repomd.xml: signed by another key",)


def test_a_missing_rpm(shop: Shop, repo: Path, tmp_path: Path) -> None:
    (repo / DRIVER).unlink()
    assert look(repo, shop, tmp_path) == (f"{DRIVER}: missing",)


def test_an_artifact_that_the_repository_does_not_have(shop: Shop, repo: Path, tmp_path: Path) -> None:
    (repo / DRIVER).unlink()
    reindex(shop.signer, repo)
    assert look(repo, shop, tmp_path) == (
        "stream r535-open: artifact nvidia-driver-3:535.261.03-1.lab9.x86_64 is not in the repository",
        "stream r535-open: profile default: package nvidia-driver is not among its artifacts",
    )


def test_an_rpm_in_no_stream(shop: Shop, repo: Path, tmp_path: Path) -> None:
    def forget(documents: list[dict[str, Any]]) -> None:
        documents[2]["data"]["artifacts"]["rpms"] = [
            a for a in documents[2]["data"]["artifacts"]["rpms"] if "common" not in a
        ]

    reindex(shop.signer, repo, forget)
    details = look(repo, shop, tmp_path)
    gate = "Packages/n/nvidia-kmod-common-535.261.03-7.open.lab9.x86_64.rpm"
    assert f"{gate}: in no stream, so every client would see it" in details


def test_a_default_stream_or_profile_that_does_not_exist(shop: Shop, repo: Path, tmp_path: Path) -> None:
    def rename(documents: list[dict[str, Any]]) -> None:
        documents[0]["data"]["stream"] = "newest"
        documents[0]["data"]["profiles"]["latest"] = ["all"]

    reindex(shop.signer, repo, rename)
    assert look(repo, shop, tmp_path) == (
        "modules.yaml: default stream 'newest' does not exist",
        "stream latest: default profile 'all' does not exist",
    )


@pytest.mark.parametrize(("unquoted", "read"), [("418", "418"), ("1.10", "1.1")])
def test_a_stream_that_yaml_reads_as_a_number_or_an_unknown_key(
    unquoted: str, read: str, shop: Shop, repo: Path, tmp_path: Path
) -> None:
    def mistype(documents: list[dict[str, Any]]) -> None:
        documents[1]["data"]["stream"] = yaml.safe_load(unquoted)
        documents[2]["data"]["colour"] = "green"

    reindex(shop.signer, repo, mistype)
    details = look(repo, shop, tmp_path)
    assert f"modules.yaml, document 2: stream: {read} is not a string" in details
    assert any("Unexpected key in data: colour" in d for d in details)


def test_an_nsvca_that_stands_for_another_content(shop: Shop, repo: Path, tmp_path: Path) -> None:
    """A document altered under the name it had: clients that cached the former one would never see it."""

    def alter(documents: list[dict[str, Any]]) -> None:
        documents[2]["data"]["summary"] = "something else"

    reindex(shop.signer, repo, alter)
    (fault,) = look(repo, shop, tmp_path)
    assert re.fullmatch(
        r"stream r535-open: nvidia-driver:r535-open:5350261\S+ is the name of another content: .*", fault
    )


@pytest.mark.parametrize("stream_name", ["1e3", "0o17", "y"])
def test_a_scalar_that_importers_of_mirrors_read_as_another_value(
    stream_name: str, shop: Shop, repo: Path, tmp_path: Path
) -> None:
    """Text to PyYAML and libmodulemd, a number or a truth value to readers of YAML 1.2: Pulp refused such streams."""

    def rename(documents: list[dict[str, Any]]) -> None:
        documents[2]["data"]["stream"] = stream_name
        documents[2]["data"]["context"] = content_context(documents[2]["data"])

    reindex(shop.signer, repo, rename)
    details = look(repo, shop, tmp_path)
    assert any(f": {stream_name} is not quoted: some readers take it for no text" in d for d in details), details


def test_a_document_without_context_and_two_of_one_name(shop: Shop, repo: Path, tmp_path: Path) -> None:
    """What makes an importer refuse a module, or take one for another: name, stream, version, context, arch."""

    def harm(documents: list[dict[str, Any]]) -> None:
        documents.append({**documents[1], "data": dict(documents[1]["data"])})
        del documents[2]["data"]["context"]

    reindex(shop.signer, repo, harm)
    details = look(repo, shop, tmp_path)
    assert "modules.yaml, document 3: stream r535-open: context: None is not a string" in details
    assert "modules.yaml, document 4: stream latest: two documents" in details


def test_an_artifact_without_its_epoch(shop: Shop, repo: Path, tmp_path: Path) -> None:
    def forget(documents: list[dict[str, Any]]) -> None:
        rpms = documents[2]["data"]["artifacts"]["rpms"]
        documents[2]["data"]["artifacts"]["rpms"] = [a.replace("nvidia-driver-3:", "nvidia-driver-") for a in rpms]
        documents[2]["data"]["context"] = content_context(documents[2]["data"])

    reindex(shop.signer, repo, forget)
    details = look(repo, shop, tmp_path)
    artifact = "nvidia-driver-535.261.03-1.lab9.x86_64"
    assert f"stream r535-open: artifact {artifact} has no epoch: clients would not take it for the stream's" in details


def test_a_package_whose_gate_is_only_in_another_stream(shop: Shop, tmp_path: Path) -> None:
    alone = [shop.rpms["nvidia-driver-535.261.03-1.lab9"]]
    gate = [shop.rpms["nvidia-kmod-common-535.261.03-7.open.lab9"]]
    streams = [
        (stream("latest", default=True, packages=["nvidia-driver"]), ["535.261.03"], alone),
        (stream("r535-open", packages=["nvidia-kmod-common"]), ["535.261.03"], gate),
    ]
    path = put_path(shop, content_of(streams), tmp_path / "torn")
    assert look(path, shop, tmp_path) == (
        f"stream latest: {alone[0].nevra} requires nvidia-kmod-common = 3:535.261.03, which nothing provides",
    )


def base_repository(folder: Path, packages: list[tuple[str, str, str, str]]) -> Path:
    """A base repository without signatures, as a distribution's own."""
    rpms = make_rpms(folder / "build", packages)
    repo = folder / "base"
    repo.mkdir()
    for artifact in rpms.values():
        shutil.copy(artifact.path, repo)
    write_metadata(repo, [p.name for p in repo.glob("*.rpm")], b"", epoch=EPOCH)
    return repo


def test_with_a_base_repository_every_dependency_counts_and_profiles_must_install(shop: Shop, tmp_path: Path) -> None:
    packages = [("nvidia-driver", "3", "535.54.03", "1.lab9"), ("nvidia-kmod-common", "3", "535.54.03", "1.lab9")]
    requires = {
        "nvidia-driver": "libdrm, (nvidia-kmod-common = 3:535.54.03 if kernel-core = 0:6.1.0-50.lab9)",
        "nvidia-kmod-common": "/opt/lab/kmod/release",
    }
    rpms = sign_all(shop.signer, make_rpms(tmp_path / "more", packages, requires=requires), tmp_path / "signed")
    streams = [(stream("r535", default=True), ["535.54.03"], list(rpms.values()))]
    path = put_path(shop, content_of(streams), tmp_path / "repo")
    base = base_repository(tmp_path, [("kmod", "0", "30", "1.lab9"), ("kernel-core", "0", "6.1.0", "50.lab9")])
    assert look(path, shop, tmp_path) == ()  # without a base, only names of our own are looked up
    assert look(path, shop, tmp_path, with_repos=[base.as_uri()]) == (
        "stream r535: nvidia-driver-3:535.54.03-1.lab9.x86_64 requires libdrm, which nothing provides",
    )
    (tmp_path / "more2").mkdir()
    whole = base_repository(
        tmp_path / "more2",
        [("kmod", "0", "30", "1.lab9"), ("libdrm", "0", "2", "1.lab9"), ("kernel-core", "0", "6.1.0", "50.lab9")],
    )
    assert look(path, shop, tmp_path, with_repos=[whole.as_uri()]) == ()


def test_a_conditional_dependency_on_a_kmod_that_the_stream_lacks(shop: Shop, tmp_path: Path) -> None:
    packages = [("nvidia-driver", "3", "535.54.03", "2.lab9")]
    kmod = "kmod-nvidia-6.1.0-50-amd64 = 3:535.54.03-1.open.lab9"
    requires = {"nvidia-driver": f"({kmod} if kernel-core = 0:6.1.0-50.lab9)"}
    rpms = sign_all(shop.signer, make_rpms(tmp_path / "more", packages, requires=requires), tmp_path / "signed")
    path = put_path(
        shop,
        content_of([(stream("r535", default=True), ["535.54.03"], list(rpms.values()))]),
        tmp_path / "repo",
    )
    assert look(path, shop, tmp_path) == (
        f"stream r535: nvidia-driver-3:535.54.03-2.lab9.x86_64 requires {kmod}, which nothing provides",
    )


def test_a_repository_over_http_is_looked_at_in_the_same_way(shop: Shop, repo: Path, tmp_path: Path) -> None:
    with served(repo) as url:
        assert look(url, shop, tmp_path) == ()
        (repo / DRIVER).unlink()
        assert look(url, shop, tmp_path) == (f"{DRIVER}: missing (HTTP 404)",)


def test_all_faults_are_reported_together(shop: Shop, repo: Path, tmp_path: Path) -> None:
    (repo / DRIVER).unlink()
    (repo / "repodata/repomd.xml.asc").unlink()
    flip(repo / "Packages/n/nvidia-driver-550.163.01-1.lab9.x86_64.rpm")
    details = look(repo, shop, tmp_path)
    assert {d.split(":")[0] for d in details} == {
        "repodata/repomd.xml.asc",
        DRIVER,
        "Packages/n/nvidia-driver-550.163.01-1.lab9.x86_64.rpm",
    }


def test_metadata_that_points_out_of_the_repository_is_not_followed(shop: Shop, repo: Path, tmp_path: Path) -> None:
    repomd, (modules,) = repo / "repodata/repomd.xml", (repo / "repodata").glob("*modules.yaml.gz")
    overwrite(repomd, repomd.read_bytes().replace(f"repodata/{modules.name}".encode(), b"../../../../etc/passwd"))
    resign(shop.signer, repo)
    assert "../../../../etc/passwd: its address leaves the repository" in look(repo, shop, tmp_path)


def test_no_repository_and_no_key_are_errors_too(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    assert "repodata/repomd.xml: missing" in look(tmp_path / "empty", shop, tmp_path)
    other = shop.rpms["nvidia-driver-535.261.03-1.lab9"]
    (tmp_path / "t").mkdir()
    with pytest.raises(VerifyError, match="cannot be verified"):
        verify_publication(str(shop.published), other.path.read_bytes()[:200], tmp_path / "t")
