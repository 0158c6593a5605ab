"""What signatures alone do not tell: replay, freeze, mixtures, files too many or too few, and who said so."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner

from builder.cli import main
from builder.errors import (
    ContentsError,
    ExpiredError,
    MixedError,
    PublishError,
    RolledBackError,
    UntrustedError,
    VerifyError,
)
from builder.model.publication import Publication, PublicationContent
from builder.publish import IntegrityReport, SeenFile, Terms, is_due, issue, publish, rollback, verify_integrity
from builder.publish.generations import Repository
from builder.publish.manifest import MANIFEST, read_manifest, signature_name
from tests.tools.publishing import EPOCH, TERMS, Shop, content_of, stream, two_streams
from tests.tools.tampering import overwrite
from tests.tools.test_publish_client import ATTACKS, DRIVER
from tests.tools.web import served

DAY = 86400
SUPPORT = "support-matrix.json"


def older(shop: Shop) -> PublicationContent:
    """One stream, before there were two."""
    old = [a for a in shop.rpms.values() if a.nevra.evr.version.startswith("535")]
    default = replace(stream("r535-open", default=True), default_instead_of=("latest",))
    return content_of([(default, ["535.261.03"], old)])


def put(shop: Shop, content: PublicationContent, repo: Path, terms: Terms = TERMS) -> Publication:
    sign = partial(shop.signer.sign_detached, epoch=EPOCH)
    return publish(content, repo, public_key=shop.signer.public_key(), sign=sign, epoch=EPOCH, terms=terms)


@pytest.fixture(scope="module")
def originals(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository with two publications, copies of both, and one that has the second's number with other content."""
    folder = tmp_path_factory.mktemp("originals")
    put(shop, older(shop), folder / "made")
    shutil.copytree(folder / "made/lab9/x86_64", folder / "before")
    put(shop, two_streams(shop.rpms), folder / "made")
    shutil.copytree(folder / "made/lab9/x86_64", folder / "now")
    put(shop, replace(older(shop), distribution="lab8", platform="lab8"), folder / "eight", replace(TERMS, sequence=9))
    put(shop, older(shop), folder / "forked", replace(TERMS, sequence=2))
    shutil.copytree(folder / "forked/lab9/x86_64", folder / "fork")
    return folder


@pytest.fixture
def repo(originals: Path, tmp_path: Path) -> Path:
    """A publication that a test may harm, the second of its place: number 2."""
    shutil.copytree(originals, tmp_path, symlinks=True, dirs_exist_ok=True)
    return tmp_path / "now"


class Looker:
    """Somebody who looks at places, with a memory of his own."""

    def __init__(self, shop: Shop, tmp: Path) -> None:
        self.keys = [shop.signer.public_key()]
        self.tmp = tmp
        self.seen = SeenFile(tmp / "state/seen.json")
        self.looks = 0

    def see(self, location: Path | str, *, now: int = EPOCH + DAY, quick: bool = True) -> IntegrityReport:
        self.looks += 1
        folder = self.tmp / f"look-{self.looks}"
        folder.mkdir()
        return verify_integrity(str(location), self.keys, folder, now=now, seen=self.seen, quick=quick)

    def fault(
        self, location: Path | str, *, now: int = EPOCH + DAY, quick: bool = True
    ) -> tuple[type[VerifyError], str]:
        """Its kind and its first sentence."""
        with pytest.raises(VerifyError) as caught:
            self.see(location, now=now, quick=quick)
        assert caught.value.message.startswith(f"{location}: {caught.value.details[0]}")
        return type(caught.value), caught.value.details[0]


@pytest.fixture
def looker(shop: Shop, tmp_path: Path) -> Looker:
    return Looker(shop, tmp_path)


def test_a_whole_publication_is_found_so_by_path_by_address_quickly_and_wholly(repo: Path, looker: Looker) -> None:
    report = looker.see(repo.as_uri(), quick=False)
    assert (report.manifest.sequence, report.manifest.issued) == (2, "2023-11-14T22:13:20Z")
    assert report.content is not None
    assert report.content.packages == 4
    assert looker.see(repo).content is None
    asked: list[str] = []
    with served(repo, asked.append) as address:
        assert looker.see(address).content is None
        assert not any(path.endswith(".rpm") or "primary" in path for path in asked)
        assert sum(path.endswith(".rpm") for path in asked) == 0
        assert looker.see(address, quick=False).content is not None
    rpms = [path for path in asked if path.endswith(".rpm")]
    assert len(rpms) == len(set(rpms)) == 4  # each is fetched once


# The same attacks that real dnf is put to, and of which kind they are to somebody who verifies.
KINDS = {
    "altered RPM": VerifyError,
    "altered RPM under re-signed metadata": MixedError,
    "unsigned RPM": UntrustedError,
    "RPM signed by a foreign key": UntrustedError,
    "truncated RPM": ContentsError,
    "altered modules.yaml": VerifyError,
    "altered repomd.xml": UntrustedError,
    "missing repomd.xml.asc": UntrustedError,
    "repomd.xml under a foreign key": UntrustedError,
}


@pytest.mark.parametrize("attack", ATTACKS)
def test_each_attack_on_a_client_is_a_failure_of_its_kind(attack: str, shop: Shop, repo: Path, looker: Looker) -> None:
    ATTACKS[attack][0](shop, repo)
    assert looker.fault(repo, quick=False)[0] is KINDS[attack]


def test_an_older_publication_put_back_is_told_from_the_newest_one_ever_seen(repo: Path, looker: Looker) -> None:
    looker.see(repo)
    shutil.rmtree(repo)
    shutil.copytree(repo.parent / "before", repo)
    kind, words = looker.fault(repo)
    assert kind is RolledBackError
    assert words == (
        f"{MANIFEST}: number 1 of 2023-11-14T22:13:20Z, but number 2 of 2023-11-14T22:13:20Z was seen here before: "
        "an older publication was put back"
    )
    looker.see(repo.parent / "before")  # at another place it is what it always was
    looker.seen.forget(str(repo))
    assert looker.see(repo).manifest.sequence == 1


def test_two_publications_of_one_number_are_told_apart(repo: Path, looker: Looker) -> None:
    looker.see(repo)
    shutil.rmtree(repo)
    shutil.copytree(repo.parent / "fork", repo)
    kind, words = looker.fault(repo)
    assert kind is RolledBackError
    assert "number 2 was seen here with other content" in words


def test_a_publication_of_another_distribution_is_told_from_the_one_of_this_place(repo: Path, looker: Looker) -> None:
    looker.see(repo)
    shutil.rmtree(repo)
    shutil.copytree(repo.parent / "eight/lab8/x86_64", repo)
    expected = f"{MANIFEST}: is of lab8/x86_64; lab9/x86_64 was seen here before"
    assert looker.fault(repo) == (RolledBackError, expected)


def test_a_publication_that_nobody_vouches_for_any_more_is_expired(repo: Path, looker: Looker) -> None:
    looker.see(repo, now=EPOCH + 30 * DAY - 1)
    kind, words = looker.fault(repo, now=EPOCH + 30 * DAY)
    assert kind is ExpiredError
    assert "number 2 of 2023-11-14T22:13:20Z expired at 2023-12-14T22:13:20Z" in words


def test_metadata_of_another_publication_of_the_same_signer_are_a_mixture(repo: Path, looker: Looker) -> None:
    """A mirror in the middle of its work, or somebody who hides a part of the news."""
    shutil.rmtree(repo / "repodata")
    shutil.copytree(repo.parent / "before/repodata", repo / "repodata")
    for quick in (True, False):
        kind, words = looker.fault(repo, quick=quick)
        assert kind is MixedError
        assert words == "repodata/repomd.xml: belongs to another publication than the manifest (number 2)"


def _alter(path: Path) -> None:
    overwrite(path, path.read_bytes().replace(b'"sequence": 2', b'"sequence": 9'))


def _resign_manifest(shop: Shop, repo: Path) -> None:
    data = (repo / MANIFEST).read_bytes()
    overwrite(repo / signature_name(data), shop.foreign.sign_detached(repo / MANIFEST, epoch=EPOCH))


def _garble(shop: Shop, repo: Path) -> None:
    overwrite(repo / MANIFEST, b"[]\n")
    signature = shop.signer.sign_detached(repo / MANIFEST, epoch=EPOCH)
    (repo / signature_name(b"[]\n")).write_bytes(signature)


def _misname_the_key(shop: Shop, repo: Path) -> None:
    data = (repo / MANIFEST).read_bytes().replace(shop.signer.fingerprint.encode(), b"A" * 40)
    overwrite(repo / MANIFEST, data)
    (repo / signature_name(data)).write_bytes(shop.signer.sign_detached(repo / MANIFEST, epoch=EPOCH))


HARM: dict[str, tuple[Callable[[Shop, Path], object], type[VerifyError], str]] = {
    "no manifest": (lambda _s, repo: (repo / MANIFEST).unlink(), UntrustedError, f"{MANIFEST}: missing"),
    "altered manifest": (lambda _s, repo: _alter(repo / MANIFEST), UntrustedError, f"{MANIFEST}: not signed"),
    "foreign manifest": (_resign_manifest, UntrustedError, f"{MANIFEST}: signed by another key"),
    "no manifest at all": (_garble, VerifyError, f"{MANIFEST}: signed, but not a manifest of this version"),
    "manifest of another key": (_misname_the_key, UntrustedError, f"{MANIFEST}: says that {'A' * 40} signs it"),
    "missing file": (lambda _s, repo: (repo / SUPPORT).unlink(), ContentsError, f"{SUPPORT}: missing"),
    "missing RPM": (lambda _s, repo: (repo / DRIVER).unlink(), ContentsError, f"{DRIVER}: missing"),
    "extra file": (
        lambda _s, repo: (repo / "Packages/n/x.rpm").write_bytes(b"x"),
        ContentsError,
        "Packages/n/x.rpm: is not in the manifest",
    ),
    "shorter file": (lambda _s, repo: overwrite(repo / SUPPORT, b"{"), ContentsError, f"{SUPPORT}: cut off: 1 of 3"),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_harmed_publication_is_named_by_a_quick_look_already(
    harm: str, shop: Shop, repo: Path, looker: Looker
) -> None:
    do, kind, words = HARM[harm]
    do(shop, repo)
    found, said = looker.fault(repo)
    assert (found, said[: len(words)]) == (kind, words)


def test_a_file_that_is_no_package_is_compared_too(repo: Path, looker: Looker) -> None:
    overwrite(repo / SUPPORT, b"[]\n")
    looker.see(repo)  # no quick look reads it
    assert looker.fault(repo, quick=False) == (VerifyError, f"{SUPPORT}: its bytes are not those of the manifest")


def test_an_answer_that_does_not_end_is_cut(repo: Path, looker: Looker) -> None:
    overwrite(repo / SUPPORT, b"{}\n" * 1000)
    with served(repo) as address:
        assert looker.fault(address, quick=False) == (ContentsError, f"{SUPPORT}: does not end after 3 bytes")


def test_with_another_key_nothing_is_believed(shop: Shop, repo: Path, looker: Looker) -> None:
    looker.keys = [shop.foreign.public_key()]
    kind, words = looker.fault(repo)
    assert (kind, words) == (UntrustedError, f"{MANIFEST}: signed by another key")
    looker.keys.append(shop.signer.public_key())  # while one key follows another both are trusted
    assert looker.see(repo, quick=False).manifest.key == shop.signer.fingerprint


def test_a_publication_that_changes_while_it_is_looked_at_is_looked_at_anew(repo: Path, looker: Looker) -> None:
    link = repo.parent / "link"
    link.symlink_to("before")

    def flip(path: str) -> None:
        if path.endswith("repomd.xml") and link.readlink() != Path("now"):
            link.unlink()
            link.symlink_to("now")

    with served(link, flip) as address:
        assert looker.see(address, quick=False).manifest.sequence == 2


def test_what_was_seen_is_not_forgotten_silently(repo: Path, looker: Looker) -> None:
    looker.see(repo)
    known = json.loads(looker.seen.path.read_text())["seen"]
    assert [(row["location"], row["sequence"]) for row in known] == [(str(repo), 2)]
    looker.seen.path.write_text("{")
    with pytest.raises(VerifyError, match="what was seen before cannot be read"):
        looker.see(repo)


def numbers(repo: Path) -> int:
    return read_manifest((repo / "lab9/x86_64" / MANIFEST).read_bytes()).sequence


def test_a_number_is_never_used_twice_also_over_a_rollback(shop: Shop, repo: Path, looker: Looker) -> None:
    made = repo.parent / "made"
    looker.see(made / "lab9/x86_64")
    new = numbers(made)

    def renew(repository: Repository, digest: str) -> bool:
        key, sign = shop.signer.fingerprint, partial(shop.signer.sign_detached, epoch=EPOCH)
        if is_due(repository, "lab9", "x86_64", digest, key, TERMS):
            issue(repository, "lab9", "x86_64", digest, key=key, sign=sign, terms=TERMS)
            return True
        return False

    assert not rollback(made, "lab9", "x86_64").renewed  # without the key it keeps its number, and is seen through
    assert looker.fault(made / "lab9/x86_64")[0] is RolledBackError
    assert rollback(made, "lab9", "x86_64", numbers_digest(made), renew=renew).renewed
    assert numbers(made) == new + 1
    assert looker.see(made / "lab9/x86_64").manifest.sequence == new + 1
    assert put(shop, two_streams(shop.rpms), made).changed  # forward again
    assert numbers(made) == new + 2
    (made / ".generations/.sequence-lab9-x86_64").unlink()  # lost: the manifests on disk know it still
    put(shop, older(shop), made)
    assert numbers(made) == new + 3
    (made / ".generations/.sequence-lab9-x86_64").write_text("many\n")
    with pytest.raises(PublishError, match="damaged: not a number"):
        put(shop, two_streams(shop.rpms), made)


def numbers_digest(repo: Path) -> str:
    """The digest of what is current."""
    return (repo / "lab9/x86_64").readlink().name


def test_an_unchanged_publication_is_renewed_when_half_of_its_time_is_over(shop: Shop, tmp_path: Path) -> None:
    repo = tmp_path / "repo"
    first = put(shop, older(shop), repo)
    link = repo / "lab9/x86_64"
    records = {p: p.stat().st_ino for p in link.rglob("*") if p.is_file() and MANIFEST[:20] not in p.name}
    assert not put(shop, older(shop), repo, replace(TERMS, now=EPOCH + 15 * DAY)).renewed
    again = put(shop, older(shop), repo, replace(TERMS, now=EPOCH + 15 * DAY + 1))
    assert (again.renewed, again.changed, again.digest) == (True, False, first.digest)
    manifest = read_manifest((link / MANIFEST).read_bytes())
    assert (manifest.sequence, manifest.expires) == (2, "2023-12-29T22:13:21Z")
    assert {p: p.stat().st_ino for p in link.rglob("*") if p in records} == records  # nothing else was written
    shorter = put(shop, older(shop), repo, Terms(now=EPOCH + 15 * DAY + 1, lifetime=DAY))
    assert shorter.renewed
    assert len(list(link.glob("publication-manifest.*.asc"))) == 2  # the one before, for readers who just fetched it


def test_the_same_inputs_give_the_same_manifest_and_its_bytes_are_canonical(shop: Shop, tmp_path: Path) -> None:
    one, two = (put(shop, two_streams(shop.rpms), tmp_path / name).path for name in ("one", "two"))
    data = (one / MANIFEST).read_bytes()
    assert data == (two / MANIFEST).read_bytes() == (json.dumps(json.loads(data), sort_keys=True) + "\n").encode()
    assert (one / signature_name(data)).read_bytes() == (two / signature_name(data)).read_bytes()


@pytest.mark.parametrize(("age", "code", "said"), [(0, 0, None), (31, 59, "expired")])
def test_the_program_says_which_kind_it_is_by_its_exit_code(
    age: int, code: int, said: str | None, shop: Shop, tmp_path: Path
) -> None:
    put(shop, older(shop), tmp_path / "repo", replace(TERMS, now=int(time.time()) - age * DAY))
    key = tmp_path / "repo/RPM-GPG-KEY-repobuild"
    words = ["verify", str(tmp_path / "repo/lab9/x86_64"), "--key", str(key), "--state", str(tmp_path / "s"), "--json"]
    done = CliRunner().invoke(main, [*words, "--quick"])
    assert done.exit_code == code, done.output
    document = json.loads(done.stdout)
    assert document.get("error", {}).get("code") == said
    assert said is not None or (document["sequence"], document["quick"]) == (1, True)
