"""Mirrors that are made while a publication is switched: whole, or refused by themselves."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import partial
from pathlib import Path
from threading import Event, Thread

import pytest

from builder.errors import LockedError
from builder.publish.serving import PublicationServer
from builder.tools.run import run
from tests.need import need, need_root
from tests.tools.publishing import Shop
from tests.tools.sending import Source, generation_seen, seen
from tests.tools.test_publish_client import Client

AT = "lab9/x86_64"


@pytest.fixture
def switching(source: Source) -> Iterator[tuple[str, list[str]]]:
    """Its address, and what was asked since that list was cleared: when repomd.xml then is, it switches to B."""
    asked = ["not yet"]

    def log(line: str) -> None:
        asked.append(line.split('"')[1].split()[1])
        if asked == [f"/{AT}/repodata/repomd.xml"]:
            source.make_current(source.b)

    with PublicationServer(source.repository.root, "127.0.0.1", 0, log) as server:
        thread = Thread(target=partial(server.serve_forever, 0.01), daemon=True)
        thread.start()
        yield server.url, asked
        server.shutdown()
        thread.join()


@pytest.fixture
def client(shop: Shop, switching: tuple[str, list[str]], tmp_path: Path) -> Iterator[Client]:
    need("dnf", "gpg-connect-agent")
    need_root()
    key = tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    made = Client(tmp_path / "client", f"{switching[0]}/{AT}", key)
    made.dnf("makecache")  # takes up the key, and asks for everything again because of that
    switching[1].clear()
    yield made
    made.close()


def test_reposync_in_mid_switch_makes_a_mirror_of_the_repomd_that_it_got_last(
    source: Source, switching: tuple[str, list[str]], client: Client, shop: Shop, tmp_path: Path
) -> None:
    to = tmp_path / "mirror"
    words = ("--repoid", "lab", "--download-path", str(to), "--norepopath", "--download-metadata", "--gpgcheck")
    client.base.append("--setopt=plugins=1")  # reposync is one
    key = tmp_path / "key.asc"
    run(("rpm", "--root", client.root, "--import", key), timeout=60, env=client.env)  # reposync imports none
    client.dnf("reposync", "--refresh", *words)
    assert source.repository.current(*AT.split("/")) == source.b.digest  # it was in mid-switch
    began = source.a if switching[1].count(f"/{AT}/repodata/repomd.xml") == 1 else source.b  # it may ask again
    assert generation_seen(lambda name: (to / name).read_bytes(), source) == began
    assert seen(str(to), shop, tmp_path / "t") == began.packages


def test_a_client_in_mid_switch_installs_what_it_was_offered(
    source: Source, switching: tuple[str, list[str]], client: Client
) -> None:
    client.dnf("--refresh", "module", "install", "nvidia-driver:r535-open")  # a stream that B has no more
    assert "nvidia-driver-535.261.03-1.lab9" in client.installed()
    assert source.repository.current(*AT.split("/")) == source.b.digest


def _read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def _mirror(link: Path, to: Path) -> bool:
    """False when rsync itself says that it failed: some versions refuse a link that changes while they follow it."""
    return (
        subprocess.run(["rsync", "-a", "--copy-unsafe-links", f"{link}/", f"{to}/"], check=False, timeout=60).returncode
        == 0
    )


def test_rsync_while_publications_are_switched_makes_one_of_them_whole_or_fails(source: Source, tmp_path: Path) -> None:
    need("rsync")
    link = source.repository.root / AT
    done = Event()

    def switch() -> None:
        number = 0
        while not done.is_set():
            with suppress(LockedError):  # a process that was just forked has the lock's descriptor until its exec
                source.make_current(source.a if number % 2 else source.b)
                number += 1

    with ThreadPoolExecutor(1) as pool:
        switching = pool.submit(switch)
        try:
            for number in range(10):
                to = tmp_path / f"mirror{number}"
                if _mirror(link, to):
                    assert generation_seen(partial(_read, to), source) is not None
        finally:
            done.set()
        switching.result()
    assert _mirror(link, tmp_path / "mirror")
    assert generation_seen(partial(_read, tmp_path / "mirror"), source) is not None
