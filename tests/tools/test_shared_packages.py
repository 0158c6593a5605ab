"""Generations share their packages: each lies there once, whole, for as long as one of them names it."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from builder.errors import ContentsError, DiskFullError, PublishError, VerifyError
from builder.publish import Repository, publish, rollback, verify_integrity
from builder.publish.pool import pool_of
from builder.publish.serving import PublicationServer
from tests.need import need
from tests.tools.listed import content_tree, listed_rpms
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, put_path, sign_all, stream, two_streams
from tests.tools.sending import put
from tests.tools.tampering import flip, overwrite
from tests.tools.test_in_flight import named, only, reachable
from tests.tools.unshared import forget_pools, unshare

AT = "lab9/x86_64"


def pooled(repo: Path) -> dict[str, Path]:
    """What the pools hold, by name."""
    return {path.name: path for path in (repo / ".pool").rglob("*") if not path.is_dir()}


def remove(repo: Path, generation: Path) -> None:
    """As gc does."""
    with Repository(repo).writing():
        Repository(repo).remove(generation.name)


def look(shop: Shop, place: Path, tmp: Path, *, quick: bool = False) -> None:
    """As ``verify``; raises VerifyError."""
    tmp.mkdir(parents=True)
    verify_integrity(str(place), [shop.signer.public_key()], tmp, now=EPOCH + 1, quick=quick)


@pytest.mark.parametrize("former", [0, 1])
def test_a_package_lies_there_once_for_as_long_as_a_generation_or_a_client_in_flight_needs_it(
    shop: Shop, tmp_path: Path, former: int
) -> None:
    repo = tmp_path / "repo"
    old = put(shop, only(shop, "535"), repo, former=former).path
    new = put(shop, only(shop, "550"), repo, former=former).path
    assert {p.name for p in pooled(repo).values()} == {a.path.name for a in shop.rpms.values()}
    assert len(list(repo.rglob("*.rpm"))) == 4  # none has a second name
    assert all(pooled(repo)[p.name].samefile(p) for place in (old, new) for p in listed_rpms(place))
    gone = {path.name for path in listed_rpms(old)}
    remove(repo, old)
    assert pooled(repo).keys() & gone == (gone if former else set())  # the current one has them for clients in flight
    put(shop, only(shop, "550", "other words"), repo, former=0)
    remove(repo, new)
    assert pooled(repo).keys() == {path.name for path in listed_rpms(repo / AT)}
    look(shop, repo / AT, tmp_path / "tmp")


def test_while_a_generation_is_damaged_nothing_leaves(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    other, damaged = (put(shop, content, repo).path for content in (only(shop, "535"), two_streams(shop.rpms)))
    put(shop, only(shop, "550"), repo)
    record = (damaged / "publication.json").read_bytes()
    (damaged / "publication.json").write_text("rubbish")
    remove(repo, other)
    assert len(pooled(repo)) == 4
    (damaged / "publication.json").write_bytes(record)
    assert reachable(damaged, named(damaged))
    remove(repo, damaged)
    assert len(pooled(repo)) == 2


def no_links(monkeypatch: pytest.MonkeyPatch, of: Path) -> None:
    """As if these files lay on another filesystem."""
    real = os.link

    def link(source: Path, target: Path) -> None:
        if Path(source).is_relative_to(of):
            raise OSError(errno.EXDEV, "Invalid cross-device link")
        real(source, target)

    monkeypatch.setattr(os, "link", link)


def store_of(shop: Shop) -> Path:
    return next(iter(shop.rpms.values())).path.parent


def test_where_packages_are_copied_each_is_copied_once_and_never_there_in_half(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo = tmp_path / "repo"
    no_links(monkeypatch, store_of(shop))

    def full(_source: object, target: Callable[[bytes], int], _chunk: int) -> None:
        target.write(b"half")  # type: ignore[attr-defined]
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfileobj", full)
        with pytest.raises(DiskFullError):
            put(shop, only(shop, "535"), repo)
    assert pooled(repo) == {}
    made = put(shop, only(shop, "535"), repo).path
    inodes = {path.name: path.stat().st_ino for path in listed_rpms(made)}
    again = put(shop, two_streams(shop.rpms), repo).path
    assert {path.name: path.stat().st_ino for path in listed_rpms(again)}.items() >= inodes.items()
    look(shop, repo / AT, tmp_path / "tmp")


def test_a_package_that_was_harmed_in_the_pool_and_not_in_the_store_is_replaced(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    old = put(shop, only(shop, "535"), repo).path
    content = content_tree(old)
    harmed = listed_rpms(old)[0].resolve()
    flip(harmed)
    put(shop, two_streams(shop.rpms), repo)
    assert content_tree(old) == content
    assert harmed.stat().st_ino in {artifact.path.stat().st_ino for artifact in shop.rpms.values()}


def test_what_a_killed_run_left_under_a_name_is_replaced_by_the_next(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    old = put(shop, only(shop, "535"), repo).path
    pool = pool_of(old)
    assert pool is not None
    name = next(a.path.name for a in shop.rpms.values() if a.nevra.evr.version.startswith("550"))
    other = next(a.path for a in shop.unsigned.values() if a.path.name == name)
    pool.add(other, f"Packages/n/{name}")  # killed here: no generation names it
    (pool.folder / ".fresh").write_bytes(b"half")
    new = put(shop, only(shop, "550"), repo).path
    assert sorted(p.name for p in pool.folder.iterdir()) == ["Packages", "SRPMS"]
    look(shop, new, tmp_path / "tmp")


def test_a_repository_of_a_former_version_goes_on_and_nothing_is_copied(
    shop: Shop, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repo, link = tmp_path / "repo", tmp_path / "repo" / AT
    old = put_path(shop, only(shop, "535"), repo)
    content = content_tree(old)
    unshare(old)
    forget_pools(repo)
    look(shop, link, tmp_path / "before")
    no_links(monkeypatch, store_of(shop))
    inodes = {path.name: path.stat().st_ino for path in listed_rpms(old)}
    both = put_path(shop, two_streams(shop.rpms), repo)
    assert {path.name: path.stat().st_ino for path in listed_rpms(both)}.items() >= inodes.items()
    new = put_path(shop, only(shop, "550"), repo)
    for number, place in enumerate((new, old, both, old, new)):
        rollback(repo, "lab9", "x86_64", place.name)
        assert all(reachable(link, named(one)) for one in (old, both, new))
        look(shop, link, tmp_path / f"after-{number}")
    assert content_tree(old) == content
    remove(repo, old)
    remove(repo, both)
    assert reachable(link, named(new))


def test_a_name_that_a_kept_generation_has_for_clients_is_not_reused(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    old = put(shop, only(shop, "535"), repo, former=1).path
    put(shop, only(shop, "550"), repo, former=1)
    put(shop, only(shop, "550", "other words"), repo, former=1)
    remove(repo, old)
    assert len(pooled(repo)) == 4
    other = sign_all(shop.foreign, {n: a for n, a in shop.unsigned.items() if "535" in n}, tmp_path / "other")
    with pytest.raises(PublishError, match="has this file name with other bytes"):
        put(shop, content_of([(stream("r535-open"), ["535.261.03"], list(other.values()))]), repo)


def of_another_publication(shop: Shop, repo: Path) -> Path:
    """A package that the current one does not list and a kept one does."""
    old = put(shop, only(shop, "535"), repo).path
    put(shop, only(shop, "550"), repo)
    return listed_rpms(old)[0].resolve()


@pytest.mark.parametrize("quick", [False, True])
def test_packages_of_kept_generations_belong_there_and_a_strangers_do_not(
    shop: Shop, tmp_path: Path, quick: bool
) -> None:
    repo = tmp_path / "repo"
    kept = of_another_publication(shop, repo)
    look(shop, repo / AT, tmp_path / "good", quick=quick)
    for name in ("nvidia-driver-999-1.lab9.x86_64.rpm", "index.html"):
        (kept.parent / name).write_bytes(b"a stranger's")
    ours = kept.parent / "nvidia-other-1-1.lab9.x86_64.rpm"
    shutil.copyfile(kept, ours)  # with our signature, called what it is not
    (kept.parent / "nvidia-link-1-1.lab9.x86_64.rpm").symlink_to("/etc/passwd")
    with pytest.raises(ContentsError) as caught:
        look(shop, repo / AT, tmp_path / "bad", quick=quick)
    assert [line for line in caught.value.details if "not in the manifest" in line] == [
        f"Packages/n/{name}: is not in the manifest"
        for name in sorted((
            "index.html", "nvidia-driver-999-1.lab9.x86_64.rpm", "nvidia-link-1-1.lab9.x86_64.rpm", ours.name,
        ))
    ]  # fmt: skip


HARMS: dict[str, Callable[[Path], object]] = {
    "cut off": lambda path: overwrite(path, path.read_bytes()[:-100]),
    "other bytes": lambda path: overwrite(path, b"x" * path.stat().st_size),
    "unsigned": lambda path: overwrite(path, path.read_bytes().replace(b"lab9", b"lab8")),
}


@pytest.mark.parametrize("harm", HARMS)
def test_a_harmed_package_of_a_kept_generation_is_found(shop: Shop, tmp_path: Path, harm: str) -> None:
    repo = tmp_path / "repo"
    kept = of_another_publication(shop, repo)
    HARMS[harm](kept)
    with pytest.raises(VerifyError, match=f"{kept.name}: is not in the manifest"):
        look(shop, repo / AT, tmp_path / "tmp")


def test_a_signed_package_that_no_publication_has_is_a_strangers_where_none_is_being_made(
    shop: Shop, tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    put(shop, only(shop, "535"), repo)
    here = set(pooled(repo))
    other = next(a.path for a in shop.rpms.values() if a.path.name not in here)
    shutil.copyfile(other, next(iter(pooled(repo).values())).parents[1] / other.name[0] / other.name)
    with pytest.raises(ContentsError, match=f"{other.name}: is not in the manifest"):
        look(shop, repo / AT, tmp_path / "look")


def test_whoever_looks_while_a_publication_is_made_finds_no_stranger(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    put(shop, only(shop, "535"), repo)
    looked = []

    def check(folder: Path) -> None:
        assert len(list(repo.rglob("*.rpm"))) == 4
        looked.append(folder)
        look(shop, repo / AT, tmp_path / "meanwhile")

    publish(
        only(shop, "550"),
        repo,
        public_key=shop.signer.public_key(),
        sign=lambda path: shop.signer.sign_detached(path, epoch=EPOCH),
        epoch=EPOCH,
        terms=TERMS,
        check=check,
    )
    assert len(looked) == 1


def rsync(source: Path, target: Path, *words: str) -> None:
    subprocess.run(["rsync", "-a", *words, f"{source}/", f"{target}/"], check=True, timeout=60)


def test_rsync_of_a_whole_repository_in_mid_flip_makes_a_mirror_that_is_whole_or_refused(
    shop: Shop, tmp_path: Path
) -> None:
    """rsync walks by name: generations, pools, links. A publication and a removal come between any two of them."""
    need("rsync")
    repo = tmp_path / "repo"
    old = put(shop, only(shop, "535"), repo).path
    for moment in (1, 2):
        mirror = tmp_path / f"mirror-{moment}"
        source = tmp_path / f"source-{moment}"
        shutil.copytree(repo, source, symlinks=True)
        parts = ["--include=/.generations/***", "--include=/.pool/***", "--include=/lab9/***"]
        for words in (parts[:moment], parts[moment:]):
            rsync(source, mirror, *words, "--exclude=*")
            if words == parts[:moment]:
                put(shop, only(shop, "550"), source, former=0)
                remove(source, source / ".generations" / old.name)
        with pytest.raises(VerifyError):
            look(shop, mirror / AT, tmp_path / f"refused-{moment}")
        rsync(source, mirror, "--delete")
        look(shop, mirror / AT, tmp_path / f"whole-{moment}")
    mirror = tmp_path / "of-one"  # links that leave the publication become what they lead to
    rsync(repo / AT, mirror, "--copy-unsafe-links")
    look(shop, mirror, tmp_path / "one")
    assert not (mirror / "Packages").is_symlink()


def test_the_server_follows_links_to_the_pool_and_nowhere_else(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    made = put(shop, two_streams(shop.rpms), repo).path
    name = f"{AT}/{listed_rpms(made)[0].relative_to(made)}"
    server = PublicationServer(repo, "127.0.0.1", 0)
    try:
        found = server.publisher.open(name)
        assert found is not None
        with found:
            assert found.read() == (repo / name).read_bytes()
        assert server.publisher.open(str((repo / name).resolve().relative_to(repo))) is None  # .pool has no address
        outside = shutil.copytree(made / "Packages", tmp_path / "outside")
        (made / "Packages").unlink()
        (made / "Packages").symlink_to(outside)
        assert (repo / name).is_file()
        assert server.publisher.open(name) is None
    finally:
        server.server_close()


def test_generations_that_lie_elsewhere_than_their_pool_are_refused(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    (tmp_path / "other/place").mkdir(parents=True)
    repo.mkdir()
    (repo / ".generations").symlink_to(tmp_path / "other/place")
    with pytest.raises(PublishError, match="lies elsewhere"):
        put(shop, only(shop, "535"), repo)
