"""What lies at the top of a repository is signed as a whole: verified, pushed with its logs, withdrawn with them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest
import s3fs
from click.testing import CliRunner

from builder.cli import main
from builder.errors import ContentsError, ExpiredError, MixedError, RolledBackError, UntrustedError, VerifyError
from builder.pipeline.push import push_all
from builder.publish import SeenFile, SiteReport, issue_site, verify_site
from builder.publish.manifest import SITE
from tests.need import need
from tests.s3 import let_anybody_read, make_bucket, s3_server
from tests.tools.publishing import EPOCH, TERMS, Shop
from tests.tools.sending import Source
from tests.tools.web import served

LOG = "logs/0123456789.log"
DAY = 86400


def sign(source: Source, shop: Shop, *, foreign: bool = False) -> bool:
    signer = shop.foreign if foreign else shop.signer
    how = partial(signer.sign_detached, epoch=EPOCH)
    return issue_site(source.repository.root, key=signer.fingerprint, sign=how, terms=TERMS)


@pytest.fixture
def site(source: Source, shop: Shop) -> Source:
    """A signed repository with a page and the log that it links to."""
    root = source.repository.root
    (root / "support-matrix.html").write_text(f"<a href={LOG}>log</a>\n")
    (root / "logs").mkdir()
    (root / LOG).write_text("compiled\n")
    assert sign(source, shop)
    return source


class Looker:
    """Somebody with our key and a memory."""

    def __init__(self, shop: Shop, tmp: Path) -> None:
        self._keys = [shop.signer.public_key()]
        self._tmp = tmp
        self._seen = SeenFile(tmp / "state/seen.json")
        self._looks = 0

    def see(self, place: Path | str, *, now: int = EPOCH + DAY, quick: bool = True) -> SiteReport:
        self._looks += 1
        folder = self._tmp / f"site-look-{self._looks}"
        folder.mkdir()
        return verify_site(str(place), self._keys, folder, now=now, seen=self._seen, quick=quick)


@pytest.fixture
def looker(shop: Shop, tmp_path: Path) -> Looker:
    return Looker(shop, tmp_path)


def test_a_whole_site_is_found_so_and_signed_again_only_when_something_changed(
    site: Source, shop: Shop, looker: Looker
) -> None:
    root = site.repository.root
    report = looker.see(root, quick=False)
    assert {file.path for file in report.manifest.files} == {
        "RPM-GPG-KEY-repobuild",
        "lab9.repo",
        "support-matrix.html",
        LOG,
    }
    assert [one.manifest.publication for one in report.publications] == [site.a.digest]
    assert not sign(site, shop)
    site.make_current(site.b)
    assert sign(site, shop)
    assert looker.see(root).manifest.sequence == 2
    assert len(list(root.glob("site-manifest.*.asc"))) == 2  # the one before, for who has just fetched its list
    (root / LOG).write_text("compiled anew\n")
    assert sign(site, shop)
    looker.see(root, quick=False)
    assert len(list(root.glob("site-manifest.*.asc"))) == 2


def _older(site: Source, shop: Shop, looker: Looker) -> None:
    root = site.repository.root
    shutil.copytree(root, root.parent / "before", symlinks=True)
    (root / "support-matrix.html").write_text("newer")
    sign(site, shop)
    looker.see(root)
    shutil.rmtree(root)
    (root.parent / "before").rename(root)


# What is done to a site, and the failure it is to somebody who verifies.
HARMS: dict[str, tuple[Callable[[Source, Shop, Looker], object], type[VerifyError], str]] = {
    "an altered page": (
        lambda s, _shop, _looker: (s.repository.root / "support-matrix.html").write_text("<script>\n"),
        ContentsError,
        "support-matrix.html: cut off",
    ),
    "another key file": (
        lambda s, shop, _looker: (s.repository.root / "RPM-GPG-KEY-repobuild").write_bytes(shop.foreign.public_key()),
        VerifyError,
        "RPM-GPG-KEY-repobuild: ",
    ),
    "a missing log": (lambda s, _shop, _looker: (s.repository.root / LOG).unlink(), ContentsError, f"{LOG}: missing"),
    "a page too many": (
        lambda s, _shop, _looker: (s.repository.root / "index.html").write_text("hello"),
        ContentsError,
        f"index.html: is not in {SITE}",
    ),
    "a publication of another time": (lambda s, _shop, _looker: s.make_current(s.b), MixedError, "lab9/x86_64: is not"),
    "a foreign signature": (lambda s, shop, _looker: sign(s, shop, foreign=True), UntrustedError, "another key"),
    "an older one put back": (_older, RolledBackError, "an older publication was put back"),
}


@pytest.mark.parametrize("harm", HARMS)
def test_each_harm_to_a_site_is_a_failure_of_its_kind(harm: str, site: Source, shop: Shop, looker: Looker) -> None:
    do, kind, words = HARMS[harm]
    do(site, shop, looker)
    with pytest.raises(VerifyError) as found:
        looker.see(site.repository.root)
    assert type(found.value) is kind
    assert words in found.value.message


def test_a_site_that_nobody_renews_expires(site: Source, looker: Looker) -> None:
    with pytest.raises(ExpiredError) as found:
        looker.see(site.repository.root, now=EPOCH + 30 * DAY)
    assert f"{SITE}: number 1" in found.value.details[0]
    assert "lab9/x86_64/publication-manifest.json: number 1" in found.value.details[1]


def test_a_site_in_the_place_of_one_of_its_publications_is_refused(site: Source, looker: Looker) -> None:
    """Else the same repository, a folder deeper, would vouch for an address at which hosts find something else."""
    place = site.repository.root.parent / "elsewhere/lab9/x86_64"
    shutil.copytree(site.repository.root, place, symlinks=True)
    with pytest.raises(UntrustedError, match="a publication is looked for here"):
        looker.see(place)


def test_the_verb_takes_the_address_of_a_repository(site: Source, shop: Shop, tmp_path: Path) -> None:
    (tmp_path / "key").write_bytes(shop.signer.public_key())
    with served(site.repository.root) as address:
        done = CliRunner().invoke(
            main, ["verify", address, "--key", str(tmp_path / "key"), "--quick", "--no-state", "--json"]
        )
    assert done.exit_code == ExpiredError.exit_code  # it is of 2023
    details = json.loads(done.stdout)["error"]["details"]
    assert [line.split(":")[0] for line in details] == [SITE, "lab9/x86_64/publication-manifest.json"]


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[tuple[str, str]]:
    """A target in S3, and the address at which everybody reads it."""
    with s3_server() as running, pytest.MonkeyPatch.context() as patch:
        for name, value in running.environment.items():
            patch.setenv(name, value)
        make_bucket("top")
        let_anybody_read("top")
        yield f"s3://top/{tmp_path.name}", f"http://127.0.0.1:{running.port}/top/{tmp_path.name}"
    s3fs.S3FileSystem.clear_instance_cache()


def test_a_push_brings_logs_before_the_page_and_the_list_last_and_withdraws_what_is_gone(
    site: Source, shop: Shop, looker: Looker, bucket: tuple[str, str], tmp_path: Path
) -> None:
    need("rsync")
    root, www = site.repository.root, tmp_path / "www"
    (www / "logs").mkdir(parents=True)
    (www / "logs/access.log").write_text("the web server's\n")
    steps: list[str] = []
    push_all(root, [str(www), bucket[0]], step=steps.append)
    for place in (www, bucket[1]):
        assert looker.see(place, quick=False).manifest.sequence == 1
    assert steps.index("logs") < steps.index("root files of lab9") < steps.index("root files (records) of lab9")
    assert steps.index(LOG) < steps.index("support-matrix.html") < steps.index(SITE)
    assert steps.index("lab9/x86_64/publication-manifest.json") < steps.index(SITE)

    shutil.rmtree(root / "logs")
    (root / "support-matrix.html").write_text("no log\n")
    for _ in range(2):
        (root / "events.json").write_text(f"{_}\n")
        assert sign(site, shop)
    push_all(root, [str(www), bucket[0]])
    for place in (www, bucket[1]):
        assert looker.see(place).manifest.sequence == 3
    assert [path.name for path in (www / "logs").iterdir()] == ["access.log"]
    there = {path.rsplit("/", 1)[-1] for path in s3fs.S3FileSystem().find(bucket[0].removeprefix("s3://"))}
    assert LOG.rsplit("/", 1)[-1] not in there
    # In S3 that of the list which stood there before, too: who has just fetched it asks for it next.
    for names, number in ((there, 3), ({path.name for path in www.iterdir()}, 2)):
        assert sum(name.startswith("site-manifest.") and name.endswith(".asc") for name in names) == number
