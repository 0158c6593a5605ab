"""What real dnf makes of a publication: streams, switches and defaults; and what it refuses (facts: clients §4)."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import RolledBackError
from builder.model.publication import StreamContent
from builder.publish import SeenFile, verify_integrity
from builder.tools.run import Completed, run
from tests.need import need, need_root
from tests.tools.publishing import EPOCH, Shop, put_path, sign_all, two_streams
from tests.tools.tampering import alter_modules, alter_repomd, flip, overwrite, reindex, resign
from tests.tools.web import served

OLD = "nvidia-driver-535.261.03-1.lab9"
DRIVER = f"Packages/n/{OLD}.x86_64.rpm"


class Client:
    """A fresh host: an installroot that knows one repository and trusts one key."""

    def __init__(self, folder: Path, baseurl: str, key: Path) -> None:
        self.folder = folder
        self.root = folder / "root"
        repos = folder / "repos"
        for path in (self.root, repos, folder / "home"):
            path.mkdir(parents=True)
        # Debian's rpm keeps its database in the home folder.
        (folder / "home/.rpmmacros").write_text("%_dbpath /var/lib/rpm\n")
        (repos / "lab.repo").write_text(
            f"[lab]\nname=lab\nbaseurl={baseurl}\ngpgkey={key.as_uri()}\ngpgcheck=1\nrepo_gpgcheck=1\n"
        )
        self.env = {"HOME": str(folder / "home")}
        options = {
            "reposdir": repos,
            "cachedir": folder / "cache",
            "persistdir": folder / "persist",
            "module_platform_id": "platform:lab9",
            "best": "1",
            "plugins": "0",
        }
        self.base = ["dnf", "-y", "--installroot", str(self.root), "--releasever", "9"]
        self.base += [f"--setopt={name}={value}" for name, value in options.items()]

    def dnf(self, *words: str, ok: tuple[int, ...] = (0,)) -> Completed:
        """Run dnf on this host."""
        return run([*self.base, *words], timeout=120, env=self.env, ok=ok)

    def close(self) -> None:
        """End the gpg-agents that dnf's library starts beside its cache and leaves behind."""
        for home in self.folder.glob("cache/*/pubring"):
            run(
                ("gpg-connect-agent", "--homedir", home, "--no-autostart", "KILLAGENT", "/bye"),
                timeout=30,
                ok=tuple(range(256)),
            )

    def installed(self) -> set[str]:
        """Name-version-release of every package."""
        query = ("rpm", "--root", self.root, "-qa", "--qf", "%{name}-%{version}-%{release}\\n")
        names = run(query, timeout=60, env=self.env).stdout.split()
        return {name for name in names if not name.startswith("gpg-pubkey")}


Host = Callable[[Path | str], Client]


@pytest.fixture
def host(shop: Shop, tmp_path: Path) -> Iterator[Host]:
    """Makes a client of a repository folder."""
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    clients: list[Client] = []

    def make(repo: Path | str) -> Client:
        folder = tmp_path / "client"
        folder.mkdir()
        key = folder / "key.asc"
        key.write_bytes(shop.signer.public_key())
        clients.append(Client(folder, repo.as_uri() if isinstance(repo, Path) else repo, key))
        return clients[-1]

    yield make
    for client in clients:
        client.close()


def test_an_admin_lists_installs_and_switches_streams_with_every_signature_checked(shop: Shop, host: Host) -> None:
    client = host(shop.published)
    listed = client.dnf("module", "list", "nvidia-driver").stdout
    rows = {line.split()[1]: line for line in listed.splitlines() if line.startswith("nvidia-driver ")}
    assert set(rows) == {"latest", "r535-open"}
    assert "latest [d]" in rows["latest"]
    assert "default [d]" in rows["r535-open"]
    client.dnf("module", "install", "nvidia-driver:r535-open")
    assert client.installed() == {OLD, "nvidia-kmod-common-535.261.03-7.open.lab9"}
    client.dnf("module", "switch-to", "nvidia-driver:latest")
    assert client.installed() == {"nvidia-driver-550.163.01-1.lab9", "nvidia-kmod-common-550.163.01-2.open.lab9"}
    client.dnf("module", "switch-to", "nvidia-driver:r535-open")
    assert client.installed() == {OLD, "nvidia-kmod-common-535.261.03-7.open.lab9"}


def test_without_a_choice_an_admin_gets_the_default_stream(shop: Shop, host: Host) -> None:
    client = host(shop.published)
    client.dnf("module", "install", "nvidia-driver")
    assert "nvidia-driver-550.163.01-1.lab9" in client.installed()


def test_the_published_repo_file_is_all_that_a_client_needs(shop: Shop, host: Host) -> None:
    client = host(shop.published)
    published = shop.published.parents[1]
    (client.folder / "repos/lab.repo").unlink()
    shutil.copy(published / "lab9.repo", client.folder / "repos")
    client.dnf("--setopt=basearch=x86_64", "module", "install", "nvidia-driver:latest")
    assert "nvidia-driver-550.163.01-1.lab9" in client.installed()


def _foreign_rpm(shop: Shop, repo: Path) -> None:
    theirs = sign_all(shop.foreign, {OLD: shop.unsigned[OLD]}, repo.parent / "foreign")
    overwrite(repo / DRIVER, theirs[OLD].path.read_bytes())
    reindex(shop.signer, repo)


def _unsigned_rpm(shop: Shop, repo: Path) -> None:
    overwrite(repo / DRIVER, shop.unsigned[OLD].path.read_bytes())
    reindex(shop.signer, repo)


def _altered_under_resigned_metadata(shop: Shop, repo: Path) -> None:
    flip(repo / DRIVER)
    reindex(shop.signer, repo)


# What is done to the repository, and the words by which dnf refuses it.
ATTACKS: dict[str, tuple[Callable[[Shop, Path], None], str]] = {
    "altered RPM": (lambda _shop, repo: flip(repo / DRIVER), "has incorrect checksum"),
    "altered RPM under re-signed metadata": (_altered_under_resigned_metadata, "GPG check FAILED"),
    "unsigned RPM": (_unsigned_rpm, f"Package {OLD}.x86_64.rpm is not signed"),
    "RPM signed by a foreign key": (_foreign_rpm, f"Public key for {OLD}.x86_64.rpm is not installed"),
    "truncated RPM": (
        lambda _shop, repo: overwrite(repo / DRIVER, (repo / DRIVER).read_bytes()[:2000]),
        "has incorrect checksum",
    ),
    "altered modules.yaml": (
        lambda _shop, repo: alter_modules(repo),
        "Downloading successful, but checksum doesn't match",
    ),
    "altered repomd.xml": (lambda _shop, repo: alter_repomd(repo), "Bad GPG signature"),
    "missing repomd.xml.asc": (
        lambda _shop, repo: (repo / "repodata/repomd.xml.asc").unlink(),
        "GPG verification is enabled, but GPG signature is not available",
    ),
    "repomd.xml under a foreign key": (lambda shop, repo: resign(shop.foreign, repo), "Bad GPG signature"),
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_client_refuses(attack: str, shop: Shop, host: Host, tmp_path: Path) -> None:
    harm, words = ATTACKS[attack]
    repo = tmp_path / "repo"
    shutil.copytree(shop.published, repo)
    harm(shop, repo)
    client = host(repo)
    done = client.dnf("module", "install", "nvidia-driver:r535-open", ok=(1,))
    assert words in done.stdout + done.stderr
    assert client.installed() == set()


def _versions(client: Client) -> set[str]:
    """The drivers that a client sees in streams that it has not chosen."""
    client.dnf("module", "reset", "nvidia-driver")
    listed = client.dnf("--refresh", "module", "list", "nvidia-driver").stdout.splitlines()
    return {line.split()[1] for line in listed if line.startswith("nvidia-driver ")}


def test_dnf_takes_an_older_publication_for_the_newest_one_and_verify_does_not(
    shop: Shop, host: Host, tmp_path: Path
) -> None:
    """Replay: all of it is signed. It is what the manifest's number is for."""
    made, place = tmp_path / "made", tmp_path / "place"
    older = two_streams({n: a for n, a in shop.rpms.items() if n.startswith(("nvidia-driver-535", "nvidia-kmod-c"))})
    before = put_path(shop, replace(older, streams=(replace_default(older.streams[1]),)), made)
    now = put_path(shop, two_streams(shop.rpms), made)
    seen, key = SeenFile(tmp_path / "seen.json"), [shop.signer.public_key()]

    def look() -> None:
        folder = tmp_path / f"look-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        verify_integrity(place.as_uri(), key, folder, now=EPOCH, seen=seen, quick=True)

    shutil.copytree(now, place)
    client = host(place)
    assert _versions(client) == {"latest", "r535-open"}
    look()
    shutil.rmtree(place)
    shutil.copytree(before, place)
    assert _versions(client) == {"r535-open"}  # without a word
    with pytest.raises(RolledBackError):
        look()


def replace_default(part: StreamContent) -> StreamContent:
    """The same stream as the default."""
    return replace(part, stream=replace(part.stream, default=True))


def test_file_times_that_go_backwards_keep_no_news_from_a_client(shop: Shop, host: Host, tmp_path: Path) -> None:
    """A mirror that was made without times, or whose clock was wrong: clients ask by checksum, not by date."""
    place = tmp_path / "place"
    made = tmp_path / "made"
    older = two_streams({n: a for n, a in shop.rpms.items() if n.startswith(("nvidia-driver-535", "nvidia-kmod-c"))})
    copies = (
        (put_path(shop, replace(older, streams=(replace_default(older.streams[1]),)), made), 4_000_000_000),
        (put_path(shop, two_streams(shop.rpms), made), 0),
    )
    found = []
    with served(tmp_path) as address:
        client = host(f"{address}/place")
        for source, mtime in copies:
            shutil.rmtree(place, ignore_errors=True)
            shutil.copytree(source, place)
            for path in place.rglob("*"):
                os.utime(path, (mtime, mtime))
            found.append(_versions(client))
    assert found == [{"r535-open"}, {"latest", "r535-open"}]
