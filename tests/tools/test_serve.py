"""The read-only server: parts, headers, nothing outside; no client sees a mixture while publications change."""

from __future__ import annotations

import http.client
import json
import signal
import socket
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from threading import Event

import pytest
import requests

from builder.errors import TargetError
from builder.pipeline.serve import open_server
from builder.tools.rpms import file_sha256
from tests.tools.sending import Source, generation_seen
from tests.tools.serving import served

AT = "lab9/x86_64"
NAME = "Packages/n/nvidia-driver-535.261.03-1.lab9.x86_64.rpm"
FLIPS, CLIENTS = 200, 4


@pytest.fixture
def url(source: Source) -> Iterator[str]:
    with served(source.repository.root) as address:
        yield address


def test_a_file_comes_whole_in_parts_or_not_at_all(source: Source, url: str) -> None:
    data = (source.a.path / NAME).read_bytes()
    address = f"{url}/{AT}/{NAME}"
    whole = requests.get(address, timeout=10)
    assert (whole.status_code, whole.content) == (200, data)
    tag = whole.headers["ETag"]
    for wanted, part in (
        ("bytes=0-9", data[:10]),
        (f"bytes={len(data) - 3}-", data[-3:]),
        ("bytes=-5", data[-5:]),
        (f"bytes=10-{len(data) + 100}", data[10:]),
    ):
        answer = requests.get(address, headers={"Range": wanted, "If-Range": tag}, timeout=10)
        assert (answer.status_code, answer.content) == (206, part)
        assert answer.headers["Content-Range"].endswith(f"/{len(data)}")
    for wanted in ("bytes=0-1,5-6", "lines=0-1", "bytes=9-3"):
        assert requests.get(address, headers={"Range": wanted}, timeout=10).content == data
    assert requests.get(address, headers={"Range": "bytes=0-1", "If-Range": '"other"'}, timeout=10).content == data
    beyond = requests.get(address, headers={"Range": f"bytes={len(data)}-"}, timeout=10)
    assert (beyond.status_code, beyond.headers["Content-Range"]) == (416, f"bytes */{len(data)}")
    assert requests.get(address, headers={"If-None-Match": tag}, timeout=10).status_code == 304
    head = requests.head(address, timeout=10)
    assert (head.headers["Content-Length"], head.content) == (str(len(data)), b"")


def test_caches_keep_what_never_changes_and_ask_again_for_the_rest(source: Source, url: str) -> None:
    (primary,) = source.a.path.glob("repodata/*-primary.xml.gz")
    for name, immutable in ((NAME, True), (f"repodata/{primary.name}", True), ("repodata/repomd.xml", False)):
        answer = requests.get(f"{url}/{AT}/{name}", timeout=10, stream=True)
        assert ("immutable" in answer.headers["Cache-Control"]) == immutable
        assert "Content-Encoding" not in answer.headers
    assert "no-store" in requests.get(f"{url}/{AT}/absent", timeout=10).headers["Cache-Control"]


@pytest.mark.parametrize(
    "path",
    [
        "/../secret",
        f"/{AT}/../../../secret",
        f"/{AT}/Packages/%2e%2e/%2e%2e/%2e%2e/%2e%2e/secret",
        "/..%2fsecret",
        "//secret",
        "/link",
        "/lab9/link/secret",
        "/.generations/.lock",
        "/.generations",
        "/lab9",
        "/",
        f"/{AT}/Packages",
        "/lab9.repo%00",
    ],
)
def test_nothing_but_published_files_is_readable(path: str, source: Source, url: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("secret")
    (source.repository.root / "link").symlink_to(tmp_path / "secret")
    (source.repository.root / "lab9/link").symlink_to(tmp_path)
    connection = http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    assert (answer.status, answer.read()) == (404, b"")


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_nothing_can_be_written(method: str, source: Source, url: str) -> None:
    before = file_sha256(source.a.path / NAME)
    assert requests.request(method, f"{url}/{AT}/{NAME}", data=b"x", timeout=10).status_code == 501
    assert file_sha256(source.a.path / NAME) == before


def test_a_client_ends_with_the_generation_it_began_with(source: Source, url: str) -> None:
    """dnf opens a connection for each of these, so that nothing but its host and name tell who asks."""

    def get(name: str, agent: str = "dnf") -> bytes:
        return requests.get(f"{url}/{AT}/{name}", headers={"User-Agent": agent}, timeout=10).content

    repomd = get("repodata/repomd.xml")
    source.make_current(source.b)
    assert get("repodata/repomd.xml.asc") == (source.a.path / "repodata/repomd.xml.asc").read_bytes()
    assert get("repodata/repomd.xml.asc", "other") == (source.b.path / "repodata/repomd.xml.asc").read_bytes()
    assert generation_seen(lambda name: repomd if name.endswith("repomd.xml") else get(name), source) == source.a
    assert generation_seen(get, source) == source.b


def _read(folder: Path, name: str) -> bytes:
    return (folder / name).read_bytes()


def test_200_switches_under_four_polling_clients_show_no_mixture_and_nothing_unsigned(source: Source, url: str) -> None:
    """Each client polls all that a repository has; each of its rounds must be one generation, whole and signed."""
    link = source.repository.root / AT
    done = Event()

    def look() -> Counter[str]:  # follows the link once a round, as a file:// client or a mirror does
        found: Counter[str] = Counter()
        while not done.is_set() or not found:
            generation = generation_seen(partial(_read, link.resolve(strict=True)), source)
            found["refused" if generation is None else generation.digest] += 1
        return found

    def poll(number: int) -> Counter[str]:
        found: Counter[str] = Counter()
        with requests.Session() as session:
            session.headers["User-Agent"] = f"client {number}"

            def get(name: str) -> bytes:
                answer = session.get(f"{url}/{AT}/{name}", timeout=30)
                assert answer.status_code == 200, name
                return answer.content

            while not done.is_set() or not found:
                generation = generation_seen(get, source)
                found["refused" if generation is None else generation.digest] += 1
        return found

    with ThreadPoolExecutor(CLIENTS + 1) as pool:
        clients = [*(pool.submit(poll, number) for number in range(CLIENTS)), pool.submit(look)]
        try:
            for number in range(FLIPS):
                source.make_current(source.a if number % 2 else source.b)
        finally:
            done.set()
        found = [client.result() for client in clients]
    rounds: Counter[str] = sum(found, Counter())
    assert set(rounds) <= {source.a.digest, source.b.digest}
    assert all(found)


def test_the_verb_tells_where_it_serves_and_ends_when_it_is_told(source: Source) -> None:
    program = Path(sys.executable).parent / "repobuild"
    argv = [str(program), "serve", "--json", "--repo", str(source.repository.root), "--port", "0"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        document = "".join(iter(process.stdout.readline, "}\n")) + "}"
        address = json.loads(document)["url"]
        assert requests.get(f"{address}/{AT}/publication.json", timeout=10).status_code == 200
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_port_that_is_taken_is_told(source: Source) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken, pytest.raises(TargetError, match="Address already in use"):
        open_server(source.repository.root, "127.0.0.1", taken.getsockname()[1], print)
