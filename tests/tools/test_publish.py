"""Publishing real RPMs: whole or not at all, the same bytes for the same content, one rename to switch."""

from __future__ import annotations

import errno
import filecmp
import hashlib
import os
import shutil
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from builder.errors import DiskFullError, LockedError, PublishError
from builder.model.publication import Publication, PublicationContent
from builder.publish import current_generation, publish, rollback, verify_publication
from builder.publish.generations import Repository
from builder.publish.in_flight import FORMER
from builder.publish.manifest import MANIFEST, is_of_manifest, read_manifest, signature_name
from builder.tools.rpms import read_artifact
from tests.tools.listed import content_tree
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, sign_all, stream, two_streams


def put(
    shop: Shop,
    content: PublicationContent,
    repo: Path,
    *,
    check: Callable[[Path], object] | None = None,
    epoch: int = EPOCH,
) -> Publication:
    return publish(
        content,
        repo,
        public_key=shop.signer.public_key(),
        sign=lambda path: shop.signer.sign_detached(path, epoch=epoch),
        epoch=epoch,
        terms=TERMS,
        check=check,
    )


def only_old(shop: Shop) -> PublicationContent:
    old = [a for a in shop.rpms.values() if a.nevra.evr.version.startswith("535")]
    default = replace(stream("r535-open", default=True), default_instead_of=("latest",))  # after two_streams, too
    return content_of([(default, ["535.261.03"], old)])


def tree(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}


def _has_its_manifest(folder: Path) -> None:
    """A manifest of these very files, and the signature that is named after it."""
    data = (folder / MANIFEST).read_bytes()
    assert (folder / signature_name(data)).is_file()
    listed = {file.path: file.sha256 for file in read_manifest(data).files}
    there = {name: data for name, data in tree(folder).items() if name != FORMER and not is_of_manifest(name)}
    assert not there.keys() - listed.keys()
    assert listed == {name: hashlib.sha256((folder / name).read_bytes()).hexdigest() for name in listed}


def test_a_publication_is_whole_for_a_client_and_lies_where_the_design_says(shop: Shop, tmp_path: Path) -> None:
    made = put(shop, two_streams(shop.rpms), tmp_path / "repo")
    link = tmp_path / "repo/lab9/x86_64"
    assert made.changed
    assert made.packages == 4
    assert made.current == link
    assert os.readlink(link) == f"../.generations/{made.digest}"  # noqa: PTH115  the very text
    assert (link / "Packages/n/nvidia-driver-535.261.03-1.lab9.x86_64.rpm").is_file()
    assert (link / "support-matrix.json").read_bytes() == b"{}\n"
    assert (tmp_path / "repo/RPM-GPG-KEY-repobuild").read_bytes() == shop.signer.public_key()
    lines = (tmp_path / "repo/lab9.repo").read_text().splitlines()
    assert {"gpgcheck=1", "repo_gpgcheck=1", f"baseurl={(tmp_path / 'repo').as_uri()}/lab9/$basearch"} <= set(lines)
    assert not any("module_hotfixes" in line for line in lines)
    report = verify_publication(link.as_uri(), shop.signer.public_key(), fresh(tmp_path))
    assert report.counts() == {"packages": 4, "streams": 2, "metadata": 4, "requirements": 2}


def fresh(tmp_path: Path) -> Path:
    folder = tmp_path / f"tmp-{len(list(tmp_path.iterdir()))}"
    folder.mkdir()
    return folder


def test_rpms_are_links_into_the_store_not_copies(shop: Shop, tmp_path: Path) -> None:
    made = put(shop, two_streams(shop.rpms), tmp_path / "repo")
    one = shop.rpms["nvidia-driver-535.261.03-1.lab9"]
    published = made.path / "Packages/n" / one.nevra.filename
    if one.path.stat().st_dev == published.stat().st_dev:
        assert published.stat().st_ino == one.path.stat().st_ino


def test_rpms_are_copied_where_links_are_impossible(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_paths: object) -> None:
        raise OSError(errno.EXDEV, "Invalid cross-device link")

    monkeypatch.setattr(os, "link", refuse)
    made = put(shop, two_streams(shop.rpms), tmp_path / "repo")
    verify_publication(str(made.path), shop.signer.public_key(), fresh(tmp_path))


def test_a_full_disk_keeps_the_current_publication(shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    repo = tmp_path / "repo"
    old = put(shop, only_old(shop), repo)

    def full(*_paths: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(DiskFullError):
        put(shop, two_streams(shop.rpms), repo)
    monkeypatch.undo()
    assert current_generation(repo, "lab9", "x86_64") == old.digest
    assert [p.name for p in (repo / ".generations").iterdir() if p.is_dir()] == [old.digest]


def test_the_same_content_gives_the_same_bytes_wherever_it_is_published(shop: Shop, tmp_path: Path) -> None:
    copies = {}
    for key, artifact in shop.rpms.items():  # other paths, other file times
        path = tmp_path / "elsewhere" / artifact.path.name
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(artifact.path.read_bytes())
        os.utime(path, (1, 1))
        copies[key] = replace(artifact, path=path)
    first = put(shop, two_streams(shop.rpms), tmp_path / "one")
    second = put(shop, two_streams(copies), tmp_path / "two")
    assert first.digest == second.digest
    assert tree(first.path) == tree(second.path)
    assert content_tree(first.path) == content_tree(second.path)


def test_publishing_the_same_content_again_touches_nothing(shop: Shop, tmp_path: Path) -> None:
    put(shop, two_streams(shop.rpms), tmp_path / "repo")
    before = {p: p.lstat().st_mtime_ns for p in (tmp_path / "repo").rglob("*") if p.name != ".lock"}
    called: list[Path] = []
    again = put(shop, two_streams(shop.rpms), tmp_path / "repo", check=called.append)
    assert not again.changed
    assert called == []
    assert {p: p.lstat().st_mtime_ns for p in (tmp_path / "repo").rglob("*") if p.name != ".lock"} == before


def test_content_epoch_and_files_each_make_another_digest(shop: Shop, tmp_path: Path) -> None:
    content = two_streams(shop.rpms)
    digests = {
        put(shop, content, tmp_path / "repo").digest,
        put(shop, content, tmp_path / "repo", epoch=EPOCH + 1).digest,
        put(shop, replace(content, files=(("support-matrix.json", b"[]"),)), tmp_path / "repo").digest,
        put(shop, only_old(shop), tmp_path / "repo").digest,
    }
    assert len(digests) == 4


def test_a_generation_that_fails_its_check_is_never_seen_and_not_kept(shop: Shop, tmp_path: Path) -> None:
    first = put(shop, only_old(shop), tmp_path / "repo")

    def refuse(folder: Path) -> None:
        assert (folder / "repodata/repomd.xml.asc").is_file()
        raise PublishError("refused by the check")

    with pytest.raises(PublishError, match="refused by the check"):
        put(shop, two_streams(shop.rpms), tmp_path / "repo", check=refuse)
    assert current_generation(tmp_path / "repo", "lab9", "x86_64") == first.digest
    assert [p.name for p in (tmp_path / "repo/.generations").iterdir() if p.is_dir()] == [first.digest]


CALLS = ("link", "replace", "rename", "fsync", "symlink", "chmod")


def _crash_at(number: int, action: Callable[[], object]) -> bool:
    """Run an action in a child process that dies at its n-th change to the disk; True when it came to its end."""
    child = os.fork()
    if child == 0:
        count = 0

        def dying(real: Callable[..., object]) -> Callable[..., object]:
            def call(*args: object, **kwargs: object) -> object:
                nonlocal count
                count += 1
                if count == number:
                    os._exit(9)
                return real(*args, **kwargs)

            return call

        for name in CALLS:
            setattr(os, name, dying(getattr(os, name)))
        try:
            action()
        except BaseException:  # noqa: BLE001  the parent judges by the exit code
            os._exit(1)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), code
    return code == 0


def test_a_crash_at_any_moment_leaves_a_whole_publication_and_the_next_run_ends_the_same(
    shop: Shop, tmp_path: Path
) -> None:
    before = tmp_path / "before"
    old = put(shop, only_old(shop), before)
    shutil.copytree(before, tmp_path / "undisturbed", symlinks=True)
    undisturbed = put(shop, two_streams(shop.rpms), tmp_path / "undisturbed")
    pooled = [path for path in (tmp_path / "undisturbed/.pool").rglob("*") if path.is_file()]
    signature = (undisturbed.path / "repodata/repomd.xml.asc").read_bytes()

    def quick(content: PublicationContent, repo: Path) -> Publication:
        return publish(  # the signature is a function of the bytes, so one made before serves
            content, repo, public_key=shop.signer.public_key(), sign=lambda _path: signature, epoch=EPOCH, terms=TERMS
        )

    old_tree, seen, number = content_tree(old.path), [], 0
    ended = False
    while not ended:
        number += 1
        repo = tmp_path / str(number)
        shutil.copytree(before, repo, symlinks=True)
        ended = _crash_at(number, partial(quick, two_streams(shop.rpms), repo))
        current = current_generation(repo, "lab9", "x86_64")
        seen.append(current)
        assert content_tree(repo / ".generations" / old.digest) == old_tree
        assert content_tree(repo / "lab9/x86_64") == (
            old_tree if current == old.digest else content_tree(undisturbed.path)
        )
        _has_its_manifest(repo / "lab9/x86_64")
        if number % 5 == 0:  # each such run costs a publication
            assert quick(two_streams(shop.rpms), repo).digest == undisturbed.digest
            assert content_tree(repo / "lab9/x86_64") == content_tree(undisturbed.path)
            assert list(repo.rglob(".tmp-*")) == []
            assert {p.name for p in (repo / ".pool").rglob("*") if p.is_file()} == {p.name for p in pooled}
        shutil.rmtree(repo)
    # The switch is one moment: before it the old, from then on the new, and changes to the disk on both sides of it.
    assert [seen.count(digest) > 1 for digest in (old.digest, undisturbed.digest)] == [True, True]
    assert seen == sorted(seen, key=lambda digest: digest != old.digest)


def test_a_second_publisher_of_the_same_repository_is_told_to_wait(shop: Shop, tmp_path: Path) -> None:
    with Repository(tmp_path / "repo").writing(), pytest.raises(LockedError, match="another repobuild publishes here"):
        put(shop, two_streams(shop.rpms), tmp_path / "repo")


def test_rollback_moves_the_symlink_back_and_lists_what_there_is(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    old, new = put(shop, only_old(shop), repo), put(shop, two_streams(shop.rpms), repo)
    back = rollback(repo, "lab9", "x86_64", old.digest[:10])
    assert (back.digest, back.changed, back.packages) == (old.digest, True, 2)
    assert filecmp.cmp(repo / "lab9/x86_64/repodata/repomd.xml", old.path / "repodata/repomd.xml", shallow=False)
    verify_publication(back.current.as_uri(), shop.signer.public_key(), fresh(tmp_path))
    with pytest.raises(PublishError, match="no generations begin with 'zz'") as caught:
        rollback(repo, "lab9", "x86_64", "zz")
    listed = [(line.split()[0], line.endswith("(current)")) for line in caught.value.details]
    assert listed == [(old.digest, True), (new.digest, False)]  # in the order in which they were made
    with pytest.raises(PublishError, match="no generation was made before the current one"):
        rollback(repo, "lab9", "x86_64")
    assert rollback(repo, "lab9", "x86_64", new.digest[:10]).digest == new.digest
    assert rollback(repo, "lab9", "x86_64").digest == old.digest
    with pytest.raises(PublishError, match="el9/x86_64"):
        rollback(repo, "el9", "x86_64", old.digest)


def refused(shop: Shop, content: PublicationContent, tmp_path: Path) -> tuple[str, ...]:
    repo = tmp_path / "repo"
    with pytest.raises(PublishError) as caught:
        put(shop, content, repo)
    assert current_generation(repo, "lab9", "x86_64") is None
    return caught.value.details


def test_every_contradiction_of_a_content_is_named_in_one_go(shop: Shop, tmp_path: Path) -> None:
    driver = shop.rpms["nvidia-driver-535.261.03-1.lab9"]
    twin = replace(driver, sha256="0" * 64)
    streams = [
        (stream("latest", default=True, packages=["nvidia-driver", "cuda-drivers"]), ["535.261.03"], [driver]),
        (stream("r535", default=True), ["535.261.03"], [twin]),
        (replace(stream("r550"), default_profile="ks"), ["550.163.01-rc"], [driver]),
        (stream("r570"), [], []),
    ]
    details = refused(shop, content_of(streams, files=(("Packages", b""),)), tmp_path)
    assert [line.split(" (")[0] for line in details] == [
        "streams latest, r535: only one can be the default",
        "stream latest: profile default: package cuda-drivers is not among its RPMs",
        "stream r550: default profile 'ks' does not exist",
        "stream r550: driver version '550.163.01-rc' is not one to three numbers",
        "stream r570: carries no driver",
        "nvidia-driver-3:535.261.03-1.lab9.x86_64: two RPMs of this name have other bytes",
        "file 'Packages': not a name a publication can carry",
    ]


def test_another_default_stream_is_refused_until_it_names_the_one_whose_place_it_takes(
    shop: Shop, tmp_path: Path
) -> None:
    rpms = [shop.rpms["nvidia-driver-535.261.03-1.lab9"], shop.rpms["nvidia-kmod-common-535.261.03-7.open.lab9"]]

    def with_default(name: str, *instead_of: str) -> PublicationContent:
        streams = [stream(one, default=one == name) for one in ("latest", "r535")]
        told = [replace(one, default_instead_of=instead_of if one.default else ()) for one in streams]
        return content_of([(one, ["535.261.03"], rpms) for one in told])

    repo = tmp_path / "repo"
    first = put(shop, with_default("latest"), repo)
    with pytest.raises(PublishError) as caught:
        put(shop, with_default("r535"), repo)
    assert caught.value.message == "lab9/x86_64: the default stream would change from 'latest' to 'r535'"
    assert caught.value.hint is not None
    assert "default_instead_of: [latest] into streams/r535.yaml" in caught.value.hint
    assert current_generation(repo, "lab9", "x86_64") == first.digest
    with pytest.raises(PublishError):
        put(shop, with_default("r535", "r550"), repo)
    assert put(shop, with_default("r535", "r550", "latest"), repo).changed


def test_a_default_that_is_held_back_and_comes_again_needs_no_word(shop: Shop, tmp_path: Path) -> None:
    rpms = [shop.rpms["nvidia-driver-535.261.03-1.lab9"], shop.rpms["nvidia-kmod-common-535.261.03-7.open.lab9"]]
    latest = (stream("latest", default=True), ["535.261.03"], rpms)
    r535 = (stream("r535"), ["535.261.03"], rpms)
    for streams in ([latest, r535], [r535], [latest, r535]):
        assert put(shop, content_of(streams), tmp_path / "repo").changed


def test_an_rpm_file_name_is_never_used_again_for_other_bytes(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    first = put(shop, two_streams(shop.rpms), repo)
    other = sign_all(shop.foreign, shop.rpms, tmp_path / "resigned")
    mixed = {**shop.rpms, "nvidia-driver-535.261.03-1.lab9": other["nvidia-driver-535.261.03-1.lab9"]}
    with pytest.raises(PublishError) as caught:
        put(shop, two_streams(mixed), repo)
    name = "nvidia-driver-535.261.03-1.lab9.x86_64.rpm"
    assert caught.value.details == (f"{name}: generation {first.digest[:12]} has this file name with other bytes",)
    assert current_generation(repo, "lab9", "x86_64") == first.digest


def test_another_key_is_refused_while_clients_trust_the_first(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    put(shop, two_streams(shop.rpms), repo)
    content = replace(two_streams(shop.rpms), distribution="lab8", platform="lab8")
    with pytest.raises(PublishError, match="holds another key"):
        publish(content, repo, public_key=shop.foreign.public_key(), sign=lambda _p: b"", epoch=EPOCH, terms=TERMS)


def test_bytes_that_rotted_in_the_store_are_found_before_publishing(shop: Shop, tmp_path: Path) -> None:
    rotten = dict(shop.rpms)
    for key, change in (("nvidia-driver-535.261.03-1.lab9", "flip"), ("nvidia-driver-550.163.01-1.lab9", "lose")):
        path = tmp_path / f"{change}.rpm"
        data = bytearray(shop.rpms[key].path.read_bytes())
        data[-3] ^= 1
        path.write_bytes(data)
        rotten[key] = replace(shop.rpms[key], path=path)
    (tmp_path / "lose.rpm").unlink()
    with pytest.raises(PublishError, match=r"lose\.rpm is not there"):
        put(shop, two_streams(rotten), tmp_path / "repo")
    rotten["nvidia-driver-550.163.01-1.lab9"] = shop.rpms["nvidia-driver-550.163.01-1.lab9"]
    with pytest.raises(PublishError, match="its bytes are not those that were signed"):
        put(shop, two_streams(rotten), tmp_path / "repo")
    assert read_artifact(shop.rpms["nvidia-driver-535.261.03-1.lab9"].path).sha256
