"""SIGKILL of real pushes at every step: clients see the former publication whole, or refuse; the next push ends it."""

from __future__ import annotations

import shutil
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.errors import ContentsError, MixedError, UntrustedError, VerifyError
from builder.publish import Generation, verify_integrity
from tests.need import need, need_root
from tests.s3 import S3Server, let_anybody_read, make_bucket, s3_server
from tests.tools.publishing import EPOCH, Shop
from tests.tools.pushes import Pushes, pushes
from tests.tools.sending import Source, generation_seen
from tests.tools.sshd import ssh_server
from tests.tools.test_publish_client import Client

KILLED = -signal.SIGKILL


@pytest.fixture(scope="module")
def server() -> Iterator[S3Server]:
    with s3_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        make_bucket("www")
        let_anybody_read("www")
        yield running


@pytest.fixture(scope="module")
def started(server: S3Server, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pushes]:
    need("rsync")
    with pushes(tmp_path_factory.mktemp("pushes") / "of", str(shutil.which("rsync"))) as running:
        yield running


class Host:
    """Somebody who looks at one place with our key."""

    def __init__(self, place: str, shop: Shop, tmp: Path) -> None:
        self.place = place
        self._keys = [shop.signer.public_key()]
        self._tmp = tmp
        self._looks = 0

    def sees(self, *, quick: bool = True) -> str:
        """The digest of the publication that is there whole and signed; raises VerifyError."""
        self._looks += 1
        folder = self._tmp / f"look-{self._looks}"
        folder.mkdir()
        report = verify_integrity(self.place, self._keys, folder, now=EPOCH, quick=quick)
        return report.manifest.publication


@pytest.fixture(params=["folder", "ssh"])
def options(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[tuple[str, ...]]:
    """What is said to a push besides its target; none for a folder of this machine."""
    if request.param == "folder":
        yield ()
        return
    with ssh_server(tmp_path / "ssh") as config:
        yield ("--ssh-config", str(config))


def test_a_folder_shows_the_former_publication_whole_until_the_switch_wherever_a_push_is_killed(
    source: Source, shop: Shop, started: Pushes, options: tuple[str, ...], tmp_path: Path
) -> None:
    target = tmp_path / "www"
    link = target / "lab9/x86_64"
    host = Host(str(link), shop, tmp_path)
    address = f"mirror:{target}" if options else str(target)

    def push(kill: str = "none 0 0") -> int:
        return started.push(source.repository.root, address, *options, kill=kill)

    source.make_current(source.b)
    assert push("during 4 1") == KILLED  # its packages, for the first time
    assert not link.exists()
    assert push() == 0
    assert host.sees(quick=False) == source.b.digest
    source.make_current(source.a)
    for files in (1, 3):
        assert push(f"during 4 {files}") == KILLED
        assert host.sees() == source.b.digest
    found: list[Generation | None] = []
    every = 4 if options else 1  # a call over ssh takes several times as long
    while push(f"before {every * len(found) + 1}") == KILLED:
        found.append(generation_seen(lambda name: (link / name).read_bytes(), source))
        assert host.sees() == (source.a if found[-1] == source.a else source.b).digest
    assert f"is {source.a.digest[:12]}" in started.said
    switched = found.index(source.a)
    assert found == [source.b] * switched + [source.a] * (len(found) - switched)
    assert every * len(found) >= started.calls > every * switched > 6
    assert host.sees(quick=False) == source.a.digest


def test_what_a_killed_rsync_leaves_in_the_current_publication_is_gone_with_the_next_push(
    source: Source, shop: Shop, started: Pushes, tmp_path: Path
) -> None:
    target = tmp_path / "www"
    link = target / "lab9/x86_64"
    assert started.push(source.repository.root, str(target)) == 0
    # rsync names a file so until it is whole; only SIGKILL leaves it. Nothing of another program's is taken away.
    left = [link / name for name in (".publication-manifest.json.kW3x9a", "Packages/n/.nvidia-driver.rpm.Q1w2E3")]
    for path in left:
        path.write_bytes(b"half")
    (target / ".htaccess").write_text("Options -Indexes\n")
    with pytest.raises(ContentsError):
        Host(str(link), shop, tmp_path).sees()
    assert started.push(source.repository.root, str(target)) == 0
    assert not any(path.exists() for path in left)
    assert (target / ".htaccess").exists()
    (tmp_path / "again").mkdir()
    assert Host(str(link), shop, tmp_path / "again").sees(quick=False) == source.a.digest


# What is being written when a push is killed, in the order in which it is, and what a client then makes of it.
_AT = "lab9/x86_64/"
MOMENTS: dict[str, type[VerifyError] | None] = {
    ".repobuild/lab9-x86_64.json": None,
    f"{_AT}Packages/": None,
    f"{_AT}repodata/": None,
    f"{_AT}support-matrix.json": None,
    f"{_AT}repodata/repomd.xml.asc": None,
    f"{_AT}repodata/repomd.xml": UntrustedError,  # S3 cannot switch two objects at once
    f"{_AT}publication.json": MixedError,
    f"{_AT}publication-manifest.": MixedError,
    f"{_AT}publication-manifest.json": MixedError,
}


class Killer:
    """Kills the push that writes to a place, before or after the write is done, once; what was not done stays so."""

    def __init__(self, started: Pushes, place: str, *, after: bool) -> None:
        self._started = started
        self._place = place
        self._after = after
        self._killed = False

    def __call__(self, place: str, done: bool) -> None:
        hit = place.startswith(self._place) if self._place[-1] in "/." else place == self._place
        if (hit and done == self._after) or self._killed:
            self._killed = True
            self._started.kill()
            if not done:
                raise ConnectionAbortedError(place)


@pytest.fixture
def dnf(server: S3Server, shop: Shop, tmp_path: Path) -> Iterator[Client]:
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    key = tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    made = Client(tmp_path / "client", f"http://127.0.0.1:{server.port}/www/{tmp_path.name}/lab9/x86_64", key)
    yield made
    made.close()


def test_s3_shows_the_former_publication_or_refuses_wherever_a_push_is_killed(
    source: Source, shop: Shop, started: Pushes, server: S3Server, dnf: Client, tmp_path: Path
) -> None:
    """Each push goes on from where the one before was killed; the last one ends it."""
    url = f"s3://www/{tmp_path.name}"
    place = f"http://127.0.0.1:{server.port}/www/{tmp_path.name}/lab9/x86_64"
    host = Host(place, shop, tmp_path)
    source.make_current(source.b)
    assert started.push(source.repository.root, url) == 0
    source.make_current(source.a)
    for moment, refusal in MOMENTS.items():
        server.tell(Killer(started, f"/www/{tmp_path.name}/{moment}", after=False))
        assert started.push(source.repository.root, url) == KILLED, moment
        if refusal is None:
            assert host.sees() == source.b.digest, moment
        else:
            with pytest.raises(refusal):
                host.sees()
        if refusal is UntrustedError:
            refused = dnf.dnf("module", "install", "nvidia-driver:latest", ok=(1,))
            assert "Bad GPG signature" in refused.stdout + refused.stderr
        if refusal is MixedError:
            assert "r535-open" in dnf.dnf("--refresh", "module", "list", "nvidia-driver").stdout
    server.tell(lambda _place, _done: None)
    assert started.push(source.repository.root, url) == 0
    assert host.sees(quick=False) == source.a.digest
