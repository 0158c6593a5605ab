"""A bundle carried to a second root: verified before anything is placed, installed from offline by real dnf."""

from __future__ import annotations

import io
import json
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import main
from builder.errors import (
    BundleError,
    ContentsError,
    ExpiredError,
    MixedError,
    RepobuildError,
    RolledBackError,
    UntrustedError,
    VerifyError,
)
from builder.pipeline.bundles import make_bundle, place_bundle
from builder.publish import Repository, SeenFile, verify_integrity
from builder.publish.bundle import read_manifest
from builder.publish.manifest import Manifest as Listed
from builder.publish.tree_files import own_files
from tests.need import need, need_root
from tests.tools.publishing import Shop, content_of, make_rpms, sign_all, stream
from tests.tools.sending import Source, put, seen
from tests.tools.test_publish_client import OLD, Client

KERNELS = ("6.1.0-47-amd64", "6.1.0-50-amd64")


@pytest.fixture(scope="module")
def key(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("trust") / "key.asc"
    path.write_bytes(shop.signer.public_key())
    return path


@pytest.fixture(scope="module")
def bundle(made_source: Source, shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One stream of generation A."""
    path = tmp_path_factory.mktemp("carried") / "el.bundle"
    make_bundle(made_source.repository.root, path, "lab9", shop.signer, arch="x86_64", streams=["r535-open"])
    return path


@pytest.fixture
def client(tmp_path: Path, key: Path) -> Iterator[Client]:
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    made = Client(tmp_path / "client", (tmp_path / "root2/lab9/x86_64").as_uri(), key)
    yield made
    made.close()


def untouched(repo: Path) -> bool:
    """Nothing was placed: no link, no generation, no key, no leftovers."""
    return {p.name for p in repo.rglob("*")} <= {".generations", ".lock"}


def test_a_stream_is_installed_offline_with_every_signature_checked(
    bundle: Path, key: Path, shop: Shop, client: Client, tmp_path: Path
) -> None:
    root2 = tmp_path / "root2"
    placed = place_bundle(bundle, root2, key, None)
    assert placed.changed
    assert seen(str(root2 / "lab9/x86_64"), shop, tmp_path / "t") == 2
    (client.folder / "repos/lab.repo").unlink()
    shutil.copy(root2 / "lab9.repo", client.folder / "repos")
    assert "repo_gpgcheck=1" in (root2 / "lab9.repo").read_text()
    listed = client.dnf("--setopt=basearch=x86_64", "module", "list", "nvidia-driver").stdout
    assert "r535-open" in listed
    assert "latest" not in listed
    client.dnf("--setopt=basearch=x86_64", "module", "install", "nvidia-driver:r535-open/default")
    assert client.installed() == {OLD, "nvidia-kmod-common-535.261.03-7.open.lab9"}


def test_everything_is_carried_as_it_is_and_a_second_bundle_holds_only_what_is_new(
    source: Source, shop: Shop, key: Path, tmp_path: Path
) -> None:
    def make(name: str, since: Path | None = None) -> Path:
        path = tmp_path / name
        make_bundle(source.repository.root, path, "lab9", shop.signer, arch="x86_64", since=since)
        return path

    source.make_current(source.b)
    first = make("first")
    source.make_current(source.a)
    second, alone = make("second", first), make("alone")
    with tarfile.open(second) as tar:
        carried = {name for name in tar.getnames() if name.startswith("files/")}
    manifest = read_manifest(_members(second)["manifest.json"])
    rpms = {f.path: f.sha256 for f in manifest.files if f.path.endswith(".rpm")}
    assert {path for path, sha256 in rpms.items() if f"files/{sha256}" in carried} == {
        path for path in rpms if "535.261.03" in path
    }
    root2 = tmp_path / "root2"
    with pytest.raises(BundleError, match="are to come from an earlier bundle") as found:
        place_bundle(second, root2, key, None)
    assert any(path.endswith(".rpm") for path in found.value.details)
    assert untouched(root2)
    assert place_bundle(first, root2, key, None).digest == source.b.digest
    assert place_bundle(second, root2, None, None).digest == source.a.digest
    assert not place_bundle(alone, root2, None, None).changed
    for generation in (source.a, source.b):
        files = dict(own_files(generation.path))
        assert {path.name for path in files.values()} >= generation.files.keys()
        for name, path in files.items():
            assert (Repository(root2).place(generation.digest) / name).read_bytes() == path.read_bytes()
    assert make("again").read_bytes() == alone.read_bytes()


def test_modules_of_some_kernels_alone_and_a_host_with_another_kernel_is_refused(
    shop: Shop, key: Path, client: Client, tmp_path: Path
) -> None:
    ev, release = "535.54.03", "2.open.lab9"
    kmods = [(f"kmod-nvidia-{kernel}", "3", ev, release) for kernel in KERNELS]
    cores = [("kernel-core", "0", kernel.split("-")[0], kernel.split("-")[1]) for kernel in KERNELS]
    gate = ", ".join(
        f"(kmod-nvidia-{kernel} = 3:{ev}-{release} if kernel-core = {core[2]}-{core[3]})"
        for kernel, core in zip(KERNELS, cores, strict=True)
    )
    packages = [("nvidia-driver", "3", ev, "2.lab9"), ("nvidia-kmod-common", "3", ev, release), *kmods]
    requires = {"nvidia-driver": f"nvidia-kmod-common = 3:{ev}", "nvidia-kmod-common": gate}
    rpms = sign_all(shop.signer, make_rpms(tmp_path / "rpms", packages, requires=requires), tmp_path / "signed")
    base = sign_all(shop.signer, make_rpms(tmp_path / "base", cores), tmp_path / "cores")
    support = {
        "streams": [{"name": "r535-open"}],
        "kernels": [{"release": kernel, "streams": {"r535-open": {}}} for kernel in KERNELS],
        "cells": [{"kernel": kernel} for kernel in KERNELS],
    }
    files = (("support-matrix.json", json.dumps(support).encode()), ("support-matrix.html", b"all\n"))
    content = content_of([(stream("r535-open", default=True), [ev], list(rpms.values()))], files=files)
    put(shop, content, tmp_path / "repo")
    path = tmp_path / "one.bundle"
    make_bundle(tmp_path / "repo", path, "lab9", shop.signer, arch="x86_64", kernels=["*-50-*"])
    placed = place_bundle(path, tmp_path / "root2", key, None)
    assert placed.packages == 3
    names = {p.name for p in placed.path.rglob("*.rpm")}
    assert f"kmod-nvidia-{KERNELS[1]}-{ev}-{release}.x86_64.rpm" in names
    assert not any(KERNELS[0] in name for name in names)
    narrowed = json.loads((placed.path / "support-matrix.json").read_text())
    assert [row["release"] for row in narrowed["kernels"]] == [KERNELS[1]]
    assert not (placed.path / "support-matrix.html").exists()
    old, new = (base[f"kernel-core-{core[2]}-{core[3]}"].path for core in cores)
    client.dnf("install", str(new))
    client.dnf("module", "install", "nvidia-driver:r535-open")
    assert any(name.startswith(f"kmod-nvidia-{KERNELS[1]}") for name in client.installed())
    refused = client.dnf("install", str(old), ok=(1,))
    assert f"kmod-nvidia-{KERNELS[0]}" in refused.stdout + refused.stderr


@pytest.fixture
def narrowed(bundle: Path, key: Path, tmp_path: Path) -> Path:
    """Where one stream was placed, as its site reads it."""
    return place_bundle(bundle, tmp_path / "root2", key, None).current


class Site:
    """Somebody at the second site, who remembers what was there."""

    def __init__(self, shop: Shop, tmp: Path) -> None:
        self._keys, self._tmp, self._seen = [shop.signer.public_key()], tmp, SeenFile(tmp / "state/seen.json")
        self._looks = 0

    def sees(self, place: Path, *, after: int = 0) -> Listed:
        """``after``: so many seconds from now."""
        self._looks += 1
        folder = self._tmp / f"look-{self._looks}"
        folder.mkdir()
        now = int(time.time()) + after
        return verify_integrity(str(place), self._keys, folder, now=now, seen=self._seen).manifest


def test_what_was_narrowed_is_verified_by_a_manifest_that_was_signed_when_it_was_bundled(
    narrowed: Path, made_source: Source, shop: Shop, tmp_path: Path
) -> None:
    manifest = Site(shop, tmp_path).sees(narrowed)
    assert manifest.part_of == made_source.a.digest
    assert manifest.publication == narrowed.readlink().name != made_source.a.digest
    assert manifest.key == shop.signer.fingerprint
    assert sum(file.path.endswith(".rpm") for file in manifest.files) == 2


def _other_metadata(place: Path, source: Source) -> None:
    for name in ("repodata/repomd.xml", "repodata/repomd.xml.asc"):
        (place / name).unlink()
        shutil.copy(source.a.path / name, place / name)


HARMS: dict[str, tuple[Callable[[Path, Source], object], type[VerifyError]]] = {
    "a file is missing": (lambda place, _source: next(place.glob("Packages/*/*.rpm")).unlink(), ContentsError),
    "a file too many": (lambda place, _source: (place / "page.html").write_text("x"), ContentsError),
    "metadata of the whole": (_other_metadata, MixedError),
    "no signature": (lambda place, _source: next(place.glob("publication-manifest.*.asc")).unlink(), UntrustedError),
}


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_to_what_was_narrowed_is_a_failure_of_its_kind(
    harm: str, narrowed: Path, made_source: Source, shop: Shop, tmp_path: Path
) -> None:
    do, kind = HARMS[harm]
    do(narrowed, made_source)
    with pytest.raises(VerifyError) as found:
        Site(shop, tmp_path).sees(narrowed)
    assert type(found.value) is kind


def test_a_second_site_is_renewed_by_bundles_and_told_of_what_is_older_than_it_saw(
    source: Source, shop: Shop, key: Path, tmp_path: Path
) -> None:
    root2, site = tmp_path / "root2", Site(shop, tmp_path)

    def make(name: str, *streams: str) -> Path:
        made = tmp_path / name
        make_bundle(source.repository.root, made, "lab9", shop.signer, arch="x86_64", streams=streams)
        return made

    first, again, whole = make("first", "r535-open"), make("again", "r535-open"), make("whole")
    place = place_bundle(first, root2, key, None).current
    before = site.sees(place)
    with pytest.raises(ExpiredError):
        site.sees(place, after=31 * 86400)
    assert not place_bundle(again, root2, None, None).changed
    assert site.sees(place).sequence == before.sequence + 1
    place_bundle(first, root2, None, None)  # of the same content: the newer word stays
    assert site.sees(place).sequence == before.sequence + 1
    assert place_bundle(whole, root2, None, None).digest == source.a.digest
    assert site.sees(place).part_of is None
    place_bundle(again, root2, None, None)
    with pytest.raises(RolledBackError, match="in part; lab9/x86_64 was seen here before"):
        site.sees(place)


def _members(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as tar:
        return {m.name: f.read() for m in tar.getmembers() if (f := tar.extractfile(m)) is not None}


def _write(path: Path, members: dict[str, bytes]) -> None:
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _flip_file(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    name = max(members, key=lambda n: len(members[n]) if n.startswith("files/") else 0)
    members[name] = members[name][:-1] + bytes([members[name][-1] ^ 1])


def _lose_file(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    members.pop(next(name for name in members if name.startswith("files/")))


def _add_file(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    members["files/../../escaped"] = b"x"


def _alter_manifest(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    members["manifest.json"] = members["manifest.json"].replace(b'"since": null', b'"since": ""')


def _sign_by_another(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    (tmp / "manifest").write_bytes(members["manifest.json"])
    members["manifest.json.asc"] = shop.foreign.sign_detached(tmp / "manifest", epoch=0)


def _unsigned(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
    members["manifest.json.asc"] = b""


def _resigned(change: Callable[[dict[str, object]], object]) -> Callable[[dict[str, bytes], Shop, Path], None]:
    """What somebody with the key could do by mistake: a manifest that is signed and wrong."""

    def harm(members: dict[str, bytes], shop: Shop, tmp: Path) -> None:
        document = json.loads(members["manifest.json"])
        change(document)
        (tmp / "manifest").write_text(json.dumps(document))
        members["manifest.json"] = (tmp / "manifest").read_bytes()
        members["manifest.json.asc"] = shop.signer.sign_detached(tmp / "manifest", epoch=0)

    return harm


def _climb(document: dict[str, object]) -> None:
    document["files"][0]["path"] = "../../escaped"  # type: ignore[index]


# What is done to a bundle, and the words by which it is refused.
DAMAGES: dict[str, tuple[Callable[[dict[str, bytes], Shop, Path], None], str]] = {
    "a flipped bit": (_flip_file, "its bytes have another digest"),
    "a missing file": (_lose_file, "files are missing"),
    "a file that is not named": (_add_file, "is not what its manifest names"),
    "an altered manifest": (_alter_manifest, "the signed bytes were altered"),
    "a foreign signature": (_sign_by_another, "signed by another key"),
    "no signature": (_unsigned, "no signature"),
    "a path that leaves": (_resigned(_climb), "is no file of a publication"),
    "a distribution that is a path": (_resigned(lambda d: d.update(distribution="../x")), "is no name"),
    "another digest": (_resigned(lambda d: d.update(digest="0" * 64)), "is not that of generation"),
    "another version": (_resigned(lambda d: d.update(format=2)), "of version 2"),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_or_foreign_bundle_places_nothing(
    damage: str, bundle: Path, shop: Shop, key: Path, tmp_path: Path
) -> None:
    harm, words = DAMAGES[damage]
    members = _members(bundle)
    harm(members, shop, tmp_path)
    _write(tmp_path / "harmed", members)
    with pytest.raises(BundleError) as found:
        place_bundle(tmp_path / "harmed", tmp_path / "root2", key, None)
    assert words in found.value.message
    assert untouched(tmp_path / "root2")


def test_a_bundle_that_ends_early_anywhere_places_nothing(bundle: Path, key: Path, tmp_path: Path) -> None:
    data = bundle.read_bytes()
    cut, root2 = tmp_path / "cut", tmp_path / "root2"
    for size in (0, 100, 512, len(data) // 2, len(data) - 12000):
        cut.write_bytes(data[:size])
        with pytest.raises(BundleError):
            place_bundle(cut, root2, key, None)
    assert untouched(root2)


def test_metadata_of_another_key_inside_a_good_bundle_are_refused(
    source: Source, shop: Shop, key: Path, tmp_path: Path
) -> None:
    asc = source.a.path / "repodata/repomd.xml.asc"
    asc.unlink()
    asc.write_bytes(shop.foreign.sign_detached(source.a.path / "repodata/repomd.xml", epoch=0))
    make_bundle(source.repository.root, tmp_path / "bad", "lab9", shop.signer, arch="x86_64")
    with pytest.raises(RepobuildError, match="signed by another key"):
        place_bundle(tmp_path / "bad", tmp_path / "root2", key, None)
    assert untouched(tmp_path / "root2")


def test_no_key_no_such_stream_and_no_such_kernel_are_told(
    source: Source, shop: Shop, bundle: Path, key: Path, tmp_path: Path
) -> None:
    with pytest.raises(BundleError, match="no key is trusted here yet"):
        place_bundle(bundle, tmp_path / "root2", None, None)
    root = source.repository.root
    with pytest.raises(BundleError, match="no stream is called 'r999'") as found:
        make_bundle(root, tmp_path / "x", "lab9", shop.signer, arch="x86_64", streams=["r999"])
    assert found.value.details == ("latest", "r535-open")
    with pytest.raises(BundleError, match="no kernel is called"):
        make_bundle(root, tmp_path / "x", "lab9", shop.signer, arch="x86_64", kernels=["9*"])
    with pytest.raises(BundleError, match="is signed by"):
        make_bundle(root, tmp_path / "x", "lab9", shop.foreign, arch="x86_64")
    assert not (tmp_path / "x").exists()


def test_the_verbs_do_the_same(source: Source, shop: Shop, key: Path, tmp_path: Path) -> None:
    def run(*words: str) -> dict[str, object]:
        done = CliRunner().invoke(main, list(words))
        assert done.exit_code == 0, done.output
        return dict(json.loads(done.stdout))

    repo, file = str(source.repository.root), str(tmp_path / "b")
    made = run("bundle", "lab9", "-o", file, "--repo", repo, "--gnupghome", str(shop.home), "--json")
    placed = run("unbundle", file, "--repo", str(tmp_path / "root2"), "--key", str(key), "--json")
    assert made["digest"] == placed["digest"] == source.a.digest
    pushed = run("push", str(tmp_path / "www"), "--repo", str(tmp_path / "root2"), "--json")
    assert (tmp_path / "www/lab9/x86_64").readlink().name == source.a.digest
    assert len(pushed["pushed"]) == 1  # type: ignore[arg-type]
