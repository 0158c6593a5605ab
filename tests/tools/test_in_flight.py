"""Clients that read the former index before a switch find what it names after it, and no more of it than is said."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from builder.errors import PublishError
from builder.model.publication import PublicationContent
from builder.publish import publish, rollback, verify_publication
from builder.publish.in_flight import keep_reachable
from builder.publish.manifest import is_of_manifest
from builder.tools.createrepo import read_primary, read_repomd
from builder.tools.rpms import file_sha256
from tests.need import need, need_root
from tests.tools.listed import content_tree
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, put_path, sign_all, stream, two_streams
from tests.tools.test_publish_client import Client


def only(shop: Shop, version: str, summary: str = "") -> PublicationContent:
    """One stream with one driver; ``summary`` makes another publication of it."""
    artifacts = [a for a in shop.rpms.values() if a.nevra.evr.version.startswith(version)]
    driver = next(a.nevra.evr.version for a in artifacts)
    files = (("support-matrix.json", f'{{"summary": "{summary}"}}\n'.encode()),)
    return content_of([(stream(f"r{version}-open"), [driver], artifacts)], files=files)


def named(generation: Path) -> dict[str, str]:
    """What a generation's index leads to: address → sha256."""
    records = read_repomd(generation / "repodata/repomd.xml")
    (primary,) = (generation / r.href for r in records if r.type == "primary")
    return {r.href: r.sha256 for r in records} | {p.href: p.sha256 for p in read_primary(primary)}


def reachable(link: Path, wanted: dict[str, str]) -> bool:
    return all((link / href).is_file() and file_sha256(link / href) == sha256 for href, sha256 in wanted.items())


@contextmanager
def behind_a_cache(folder: Path, stale: dict[str, bytes]) -> Iterator[str]:
    """An HTTP server in front of a folder that gives out some files as they were before."""

    class Handler(SimpleHTTPRequestHandler):
        def do_GET(self) -> None:
            data = stale.get(self.path.rsplit("/", 1)[-1])
            if data is None:
                super().do_GET()
                return
            self.send_response(200)
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def test_dnf_behind_a_cache_that_holds_the_former_index_installs_what_it_names(shop: Shop, tmp_path: Path) -> None:
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    repo = tmp_path / "repo"
    former = put_path(shop, only(shop, "535"), repo)
    stale = {name: (former / "repodata" / name).read_bytes() for name in ("repomd.xml", "repomd.xml.asc")}
    current = put_path(shop, only(shop, "550"), repo)
    assert not (named(former).keys() & named(current).keys())  # nothing in common: neither RPMs nor metadata
    key = tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    with behind_a_cache(repo / "lab9/x86_64", stale) as url:
        client = Client(tmp_path / "client", url, key)
        client.dnf("module", "install", "nvidia-driver:r535-open")
        assert "nvidia-driver-535.261.03-1.lab9" in client.installed()
        client.close()


def test_so_many_generations_stay_reachable_and_what_is_older_goes(shop: Shop, tmp_path: Path) -> None:
    repo, link = tmp_path / "repo", tmp_path / "repo/lab9/x86_64"

    def put(content: PublicationContent) -> dict[str, str]:
        made = publish(
            content,
            repo,
            public_key=shop.signer.public_key(),
            sign=partial(shop.signer.sign_detached, epoch=EPOCH),
            epoch=EPOCH,
            terms=TERMS,
            former=2,
        )
        return named(made.path)

    first = put(only(shop, "535"))
    second = put(two_streams(shop.rpms))
    third = put(only(shop, "550"))
    assert all(reachable(link, wanted) for wanted in (first, second, third))
    put(only(shop, "550", "other words"))  # names what the third one names
    assert reachable(link, second)
    assert reachable(link, third)
    assert not reachable(link, first)
    rows = json.loads((link / "former.json").read_text())
    assert len(rows) == 2
    (tmp_path / "tmp").mkdir()
    report = verify_publication(link.as_uri(), shop.signer.public_key(), tmp_path / "tmp")
    assert report.packages == 2  # what is kept for clients in flight belongs to no stream


def files(repo: Path) -> set[Path]:
    """Without manifests, of which the newest number's is issued."""
    return {path for path in repo.rglob("*") if not is_of_manifest(path.name)}


def test_a_rollback_leaves_clients_of_what_was_current_their_files_and_signs_nothing_anew(
    shop: Shop, tmp_path: Path
) -> None:
    repo, link = tmp_path / "repo", tmp_path / "repo/lab9/x86_64"
    old = put_path(shop, only(shop, "535"), repo)
    own = {p: p.read_bytes() for p in old.rglob("*") if p.is_file()}
    content = content_tree(old)
    new = named(put_path(shop, only(shop, "550"), repo))
    rollback(repo, "lab9", "x86_64")
    assert link.resolve() == old
    assert reachable(link, new)
    assert {p: p.read_bytes() for p in own} == own
    assert content_tree(old) == content
    before = files(repo)
    put_path(shop, only(shop, "535"), repo)  # the same content again: nothing is linked or unlinked
    assert files(repo) == before


def test_a_former_generation_that_is_damaged_is_passed_over(shop: Shop, tmp_path: Path) -> None:
    old = put_path(shop, only(shop, "535"), tmp_path / "old")
    new = put_path(shop, only(shop, "550"), tmp_path / "new")
    (old / "repodata/repomd.xml").write_text("rubbish")
    before = {p for p in new.rglob("*") if p.is_file()}
    keep_reachable(new, old, 3)
    assert {p for p in new.rglob("*") if p.is_file()} - before == {new / "former.json"}
    (new / "former.json").write_text("rubbish")
    keep_reachable(new, tmp_path / "gone", 3)
    assert reachable(new, named(new))


def test_a_name_that_clients_in_flight_may_fetch_is_not_reused_though_its_generation_is_gone(
    shop: Shop, tmp_path: Path
) -> None:
    repo = tmp_path / "repo"
    old = put_path(shop, only(shop, "535"), repo)
    put_path(shop, only(shop, "550"), repo)
    shutil.rmtree(old)  # as gc does
    other = sign_all(shop.foreign, {n: a for n, a in shop.unsigned.items() if "535" in n}, tmp_path / "other")
    rows = [(stream("r535-open"), ["535.261.03"], list(other.values()))]
    with pytest.raises(PublishError, match="has this file name with other bytes"):
        put_path(shop, content_of(rows), repo)
