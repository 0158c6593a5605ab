"""One key follows another: what hosts that know only the first, both, or only the second can do (ADR 0026)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path

import pytest

from builder.errors import BundleError, PublishError, SignError, UntrustedError
from builder.model.matrix import DeclaredKey, Integrity
from builder.model.publication import Publication, PublicationContent
from builder.pipeline.bundles import make_bundle, place_bundle
from builder.pipeline.integrity import former_fingerprints, key_names, open_signer, trusted_keys
from builder.pipeline.settings import Settings
from builder.publish import publish, verify_publication
from builder.sign import Signer, new_key
from builder.tools.rpmsign import signature_faults
from tests.need import need, need_root
from tests.tools.publishing import (
    EPOCH,
    REQUIRES,
    TERMS,
    Shop,
    content_of,
    make_rpms,
    sign_all,
    stream,
    two_streams,
)
from tests.tools.test_publish_client import OLD, Client

NEWER = "nvidia-driver-550.163.01-2.lab9"


class Site:
    """A repository whose key changes: ``shop.signer`` signs, then ``shop.foreign`` does."""

    def __init__(self, shop: Shop, folder: Path) -> None:
        self.shop = shop
        self.folder = folder
        self.repo = folder / "repo"
        self.keys = (shop.signer.public_key(), shop.foreign.public_key())
        newer = make_rpms(folder / "rpms", [("nvidia-driver", "3", "550.163.01", "2.lab9")], requires=REQUIRES)
        self.newer = sign_all(shop.foreign, newer, folder / "signed")[NEWER]

    def put(
        self, signer: Signer, content: PublicationContent, keys: Sequence[bytes], *, trusted: bool = True
    ) -> Publication:
        """Publish; the check before the switch is a client's that trusts these keys (or only the signer's)."""
        trust = [signer.public_key(), *keys] if trusted else [signer.public_key()]
        tmp = self.folder / f"tmp-{len(list(self.folder.iterdir()))}"
        tmp.mkdir()
        return publish(
            content,
            self.repo,
            public_key=signer.public_key(),
            sign=partial(signer.sign_detached, epoch=EPOCH),
            epoch=EPOCH,
            terms=TERMS,
            base_url=self.repo.as_uri(),
            check=lambda path: verify_publication(path.as_uri(), trust, tmp),
            other_keys=keys,
        )

    def with_newer(self) -> PublicationContent:
        """What there was, and one package that the new key signed."""
        new = [a for a in self.shop.rpms.values() if a.nevra.evr.version.startswith("550")]
        old = [a for a in self.shop.rpms.values() if a.nevra.evr.version.startswith("535")]
        latest = two_streams(self.shop.rpms).streams[0].stream
        return content_of([(latest, ["550.163.01"], [*new, self.newer]), (stream("r535-open"), ["535.261.03"], old)])


@pytest.fixture
def clients(shop: Shop, tmp_path: Path) -> Iterator[list[Client]]:
    need("dnf", "rpm", "gpg-connect-agent")
    need_root()
    made: list[Client] = []
    yield made
    for client in made:
        client.close()


def test_hosts_go_on_while_one_key_follows_another(shop: Shop, clients: list[Client], tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = Site(shop, tmp_path / "site")
    old, both = site.keys[:1], site.keys
    site.put(shop.signer, two_streams(shop.rpms), old)
    place = site.repo / "lab9/x86_64"
    key = tmp_path / "old.asc"
    key.write_bytes(old[0])
    former = Client(tmp_path / "former", place.as_uri(), key)
    clients.append(former)
    former.dnf("module", "install", "nvidia-driver:r535-open")
    assert OLD in former.installed()

    # The overlap: both keys are told of, the former one signs.
    overlap = site.put(shop.signer, two_streams(shop.rpms), both)
    assert overlap.changed
    names = sorted(path.name for path in site.repo.glob("RPM-GPG-KEY-*"))
    assert names == ["RPM-GPG-KEY-repobuild", f"RPM-GPG-KEY-repobuild-{shop.foreign.fingerprint[-16:]}"]
    (line,) = [line for line in (site.repo / "lab9.repo").read_text().splitlines() if line.startswith("gpgkey=")]
    assert line == "gpgkey=" + " ".join(f"{site.repo.as_uri()}/{name}" for name in names)
    former.dnf("--refresh", "module", "switch-to", "nvidia-driver:latest")  # a host that never heard of the next key
    assert "nvidia-driver-550.163.01-1.lab9" in former.installed()
    told = Client(tmp_path / "told", place.as_uri(), key)
    clients.append(told)
    (told.folder / "repos/lab.repo").write_text((site.repo / "lab9.repo").read_text())
    told.dnf("--setopt=basearch=x86_64", "module", "install", "nvidia-driver:latest")

    # The day: the next key signs metadata and what is new; what was published stays as it was.
    site.put(shop.foreign, site.with_newer(), both)
    paths = sorted(place.glob("Packages/*/*.rpm"))
    (tmp_path / "k").mkdir()
    faults = signature_faults(paths, [shop.signer.public_key()], tmp_path / "k")
    assert {path.name: fault for path, fault in faults.items()} == {f"{NEWER}.x86_64.rpm": "signed by another key"}
    told.dnf("--setopt=basearch=x86_64", "--refresh", "upgrade")
    assert NEWER in told.installed()
    refused = former.dnf("--refresh", "upgrade", ok=(0, 1))
    assert "Bad GPG signature" in refused.stdout + refused.stderr
    assert NEWER not in former.installed()
    (former.folder / "repos/lab.repo").write_text((site.repo / "lab9.repo").read_text())  # it learns of both
    former.dnf("--setopt=basearch=x86_64", "--refresh", "upgrade")
    assert NEWER in former.installed()


def test_a_site_behind_bundles_goes_on_while_one_key_follows_another(shop: Shop, tmp_path: Path) -> None:
    """What a key signed that it was told of it takes; what one signed that it hears of with the bundle it does not."""
    (tmp_path / "site").mkdir()
    site = Site(shop, tmp_path / "site")
    before, after, theirs = (tmp_path / name for name in ("before.bundle", "after.bundle", "theirs.bundle"))
    current = site.put(shop.signer, two_streams(shop.rpms), site.keys)
    make_bundle(site.repo, before, "lab9", shop.signer, arch="x86_64")
    follower = site.put(shop.foreign, site.with_newer(), site.keys)
    make_bundle(site.repo, after, "lab9", shop.foreign, arch="x86_64", since=before)  # of the former key
    make_bundle(site.repo, theirs, "lab9", shop.foreign, arch="x86_64", streams=["r535-open"])
    paths = [tmp_path / f"{name}.asc" for name in ("former", "next")]
    for path, key in zip(paths, site.keys, strict=True):
        path.write_bytes(key)

    root2, place = tmp_path / "root2", tmp_path / "root2/lab9/x86_64"
    assert place_bundle(before, root2, paths[:1], None).digest == current.digest
    refusals = (((), "signed by another key"), (paths[1:], "clients trust another key than the one that signed"))
    for given, words in refusals:
        with pytest.raises(BundleError, match=words):
            place_bundle(after, root2, given, None)
        assert place.readlink().name == current.digest
        assert [path.name for path in root2.glob("RPM-GPG-KEY-*")] == ["RPM-GPG-KEY-repobuild"]

    assert not place_bundle(before, root2, paths[1:], None).changed  # the coming key is told of
    names = ["RPM-GPG-KEY-repobuild", f"RPM-GPG-KEY-repobuild-{shop.foreign.fingerprint[-16:]}"]
    assert [(root2 / name).read_bytes() for name in names] == list(site.keys)
    line = "gpgkey=" + " ".join(f"{root2.as_uri()}/{name}" for name in names)
    assert line in (root2 / "lab9.repo").read_text().splitlines()
    assert place_bundle(after, root2, [], None).digest == follower.digest
    assert place_bundle(before, root2, [], None).digest == current.digest  # what the former key signed is still taken
    assert place_bundle(theirs, root2, [], None).packages == 2

    only = tmp_path / "root3"  # where nobody was told of anything, whoever places it says whom to trust
    with pytest.raises(BundleError, match="signed by another key"):
        place_bundle(before, only, paths[1:], None)
    with pytest.raises(UntrustedError):  # what it holds is of both keys
        place_bundle(theirs, only, paths[1:], None)
    assert [path.name for path in only.iterdir()] == [".generations"]  # and nothing in it
    assert not list(only.glob(".generations/[0-9a-f]*"))


def test_a_key_is_told_of_before_it_signs_and_until_nothing_of_it_is_left(shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "site").mkdir()
    site = Site(shop, tmp_path / "site")
    site.put(shop.signer, two_streams(shop.rpms), site.keys[:1])
    with pytest.raises(PublishError, match="holds another key than the one that signs now"):
        site.put(shop.foreign, site.with_newer(), site.keys)
    current = site.put(shop.signer, two_streams(shop.rpms), site.keys).digest
    with pytest.raises(UntrustedError) as caught:
        site.put(shop.foreign, site.with_newer(), site.keys[1:], trusted=False)
    assert set(caught.value.details) == {
        f"Packages/n/{a.nevra.filename}: signed by another key" for a in shop.rpms.values()
    }
    assert (site.repo / "lab9/x86_64").readlink().name == current


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, tuple[bytes, bytes]]:
    """A GNUPGHOME with two keys, and their public halves."""
    folder = tmp_path_factory.mktemp("keys") / "home"
    fingerprints = [new_key(folder, name) for name in ("former", "next")]
    former, following = (Signer.open(folder, fingerprint).public_key() for fingerprint in fingerprints)
    return folder, (former, following)


def test_the_declared_day_chooses_the_key(home: tuple[Path, tuple[bytes, bytes]]) -> None:
    folder, keys = home
    settings = Settings(config=Path("matrix.yaml"), gnupghome=folder)

    def declared(day: str) -> Integrity:
        return Integrity(
            keys=(
                DeclaredKey(name="former.asc", data=keys[0], start=None),
                DeclaredKey(name="next.asc", data=keys[1], start=day),
            )
        )

    before, after = declared("9999-12-31"), declared("2020-01-01")
    first, second = open_signer(settings, before), open_signer(settings, after)
    assert (first.public_key(), second.public_key()) == keys
    assert (former_fingerprints(first, before), former_fingerprints(second, after)) == ((), (first.fingerprint,))
    assert trusted_keys(first, before) == keys
    assert trusted_keys(second, after) == (keys[1], keys[0])
    assert key_names(before) == ("RPM-GPG-KEY-repobuild", f"RPM-GPG-KEY-repobuild-{second.fingerprint[-16:]}")
    assert key_names(Integrity()) == ("RPM-GPG-KEY-repobuild",)
    named = Settings(config=Path("matrix.yaml"), gnupghome=folder, signing_key=first.fingerprint)
    with pytest.raises(SignError, match=f"next.asc signs, {second.fingerprint}"):
        open_signer(named, after)
