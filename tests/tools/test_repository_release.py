"""The package that brings a repository with module streams to a host, met by real dnf 4, every signature checked."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.errors import PublishError, VerifyError
from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery, Driver
from builder.model.planning import StreamPlan, UnitOutcome
from builder.model.sources import Buildroot
from builder.pipeline.events import Event
from builder.pipeline.gates import build_releases
from builder.pipeline.releases import repository_releases
from builder.pipeline.settings import Settings
from builder.pipeline.specs import Job, make_job
from builder.pipeline.workshop import Facts, Workshop
from builder.publish import host_repository, publish, verify_publication, with_former
from builder.publish.content_checks import content_faults
from builder.qualify import qualify_packages
from builder.render import render_repository_release
from builder.sign import Signer
from builder.store import Store
from builder.tools.gpg import made_on
from builder.tools.rpms import read_artifact
from builder.tools.run import Completed, run
from tests.golden import sample
from tests.need import need, need_root
from tests.tools.publishing import EPOCH, TERMS, Shop, sign_all, stream, two_streams
from tests.tools.rpm_building import build
from tests.tools.test_key_rotation import NEWER, Site
from tests.tools.test_publish_client import OLD, Client

UNIT = sample.unit(PackageKind.RELEASE, dist=sample.distribution("lab9", payload="w6.xzdio"))
EL9 = sample.EL9
KEYS = "etc/pki/rpm-gpg/RPM-GPG-KEY-nvidia-driver-lab9"
REPO = "etc/yum.repos.d/lab9-nvidia.repo"
_AS_ITS_OWN = 'mount --bind "$1" /etc && shift && exec "$@"'


def named(serial: int) -> str:
    return f"nvidia-driver-release-9-{serial}.lab9"


class OwnClient(Client):
    """A host that knows no repository. Its keys lie where its own dnf would look for them."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "file:///nowhere", folder / "no.key")
        for place in ("etc/yum.repos.d", "etc/pki/rpm-gpg"):
            (self.root / place).mkdir(parents=True)
        shutil.copytree("/etc", folder / "etc", symlinks=True)
        shutil.rmtree(folder / "etc/pki", ignore_errors=True)
        (folder / "etc/pki").symlink_to(self.root / "etc/pki")
        self.base += [f"--setopt=reposdir={self.root}/etc/yum.repos.d", "--setopt=basearch=x86_64"]

    def dnf(self, *words: str, ok: tuple[int, ...] = (0,)) -> Completed:
        argv = ("unshare", "--mount", "--propagation", "private", "sh", "-c", _AS_ITS_OWN, "sh", self.folder / "etc")
        return run((*argv, *self.base, *words), timeout=120, env=self.env, ok=ok)

    def rpm(self, *words: str | Path) -> str:
        return run(("rpm", "--root", self.root, *words), timeout=60, env=self.env).stdout

    def stamp(self) -> str:
        """When and in which transaction the release package came."""
        return self.rpm("-q", "--qf", "%{VERSION}-%{RELEASE} %{INSTALLTIME} %{INSTALLTID}", "nvidia-driver-release")


class Publisher(Site):
    """A site whose hosts are given the package."""

    def release(self, serial: int, keys: Sequence[bytes], signer: Signer, url: str | None = None) -> Artifact:
        host = host_repository("nvidia-driver", "lab9", url or self.repo.as_uri(), keys, ("modules", b"DER"))
        spec = render_repository_release(UNIT, sample.MATRIX, host, serial=serial)
        top = self.folder / f"release-{serial}"
        (made,) = build(spec, top)
        assert qualify_packages(UNIT, [made], sample.MATRIX, serial=serial).ok
        return sign_all(signer, {"it": read_artifact(made.path)}, top / "signed")["it"]

    @property
    def address(self) -> str:
        return (self.repo / "lab9/x86_64/nvidia-driver-release.rpm").as_uri()


@pytest.fixture
def site(shop: Shop, tmp_path: Path) -> Publisher:
    (tmp_path / "site").mkdir()
    return Publisher(shop, tmp_path / "site")


@pytest.fixture
def client(tmp_path: Path) -> Iterator[OwnClient]:
    need("dnf", "rpm", "gpg-connect-agent", "unshare")
    need_root()
    made = OwnClient(tmp_path / "client")
    yield made
    made.close()


def test_a_host_gets_repository_keys_and_certificate_with_one_package_and_the_next_key_with_a_plain_upgrade(
    shop: Shop, site: Publisher, client: OwnClient, tmp_path: Path
) -> None:
    first = site.release(1, site.keys[:1], shop.signer)
    content = replace(two_streams(shop.rpms), beside=(first,))
    site.put(shop.signer, content, site.keys[:1])
    checked = ("--setopt=localpkg_gpgcheck=1", "install", site.address)
    assert "is not installed" in (refused := client.dnf(*checked, ok=(1,))).stdout + refused.stderr
    client.rpm("--import", site.repo / "RPM-GPG-KEY-repobuild")
    theirs = sign_all(shop.foreign, {"it": first}, tmp_path / "theirs")["it"].path
    assert "is not installed" in (refused := client.dnf(*checked[:2], str(theirs), ok=(1,))).stdout + refused.stderr
    assert client.installed() == set()
    client.dnf(*checked)
    assert client.installed() == {named(1)}
    assert (client.root / "usr/share/nvidia-driver-release/certificate.der").read_bytes() == b"DER"

    client.dnf("module", "install", "nvidia-driver:r535-open")
    assert client.installed() == {named(1), OLD, "nvidia-kmod-common-535.261.03-7.open.lab9"}
    with (client.root / REPO).open("a") as file:
        file.write("priority=50\n")  # the host's admin has a word, too

    # The overlap: hosts are told of both keys, by a package that the former one signed.
    both = (first, site.release(2, site.keys, shop.signer))
    site.put(shop.signer, replace(two_streams(shop.rpms), beside=both), site.keys)
    stamp = client.stamp()
    client.dnf("--refresh", "upgrade")
    assert named(2) in client.installed()
    assert (client.root / KEYS).read_bytes().count(b"BEGIN PGP PUBLIC KEY BLOCK") == 2
    client.dnf("history", "undo", "last")  # the former one is kept
    assert client.stamp().split()[0] == stamp.split()[0] == "9-1.lab9"
    client.dnf("upgrade")
    assert "priority=50\n" in (client.root / REPO).read_text()

    # The day: the next key signs metadata and what is new. No switch touches the package.
    site.put(shop.foreign, replace(site.with_newer(), beside=both), site.keys)
    stamp = client.stamp()
    client.dnf("--refresh", "module", "switch-to", "nvidia-driver:latest")
    assert client.installed() == {named(2), NEWER, "nvidia-kmod-common-550.163.01-2.open.lab9"}
    client.dnf("module", "remove", "--all", "nvidia-driver")
    client.dnf("module", "reset", "nvidia-driver")
    assert client.installed() == {named(2)}
    assert client.stamp() == stamp

    # The repository moves. Who edited the file is given the new one beside it.
    moved = site.release(3, site.keys, shop.foreign, "https://example.org/moved")
    site.put(shop.foreign, replace(site.with_newer(), beside=(*both, moved)), site.keys)
    client.dnf("--refresh", "upgrade")
    assert named(3) in client.installed()
    assert "baseurl=https://example.org/moved/lab9/$basearch\n" in (client.root / f"{REPO}.rpmnew").read_text()


def test_what_is_kept_for_hosts_to_go_back_to_holds_no_key_that_is_gone(
    shop: Shop, site: Publisher, tmp_path: Path
) -> None:
    content = two_streams(shop.rpms)
    one, two = (site.release(n, site.keys[:n], shop.signer) for n in (1, 2))
    site.put(shop.signer, replace(content, beside=(one,)), site.keys)

    def kept(beside: tuple[Artifact, ...]) -> list[str]:
        return [a.nevra.evr.release for a in with_former(replace(content, beside=beside), site.repo).beside]

    assert kept((two,)) == ["1.lab9", "2.lab9"]
    assert kept(()) == ["1.lab9"]  # none was made this time: no host loses its address
    site.put(shop.signer, replace(content, beside=(one, two)), site.keys)
    assert kept((site.release(3, site.keys[1:], shop.foreign),)) == ["3.lab9"]
    assert kept((site.release(4, site.keys, shop.signer, "https://example.org/moved"),)) == ["4.lab9"]
    (tmp_path / "v").mkdir()
    place = site.repo / "lab9/x86_64"
    assert (place / "nvidia-driver-release.rpm").read_bytes() == two.path.read_bytes()
    (place / "nvidia-driver-release.rpm").unlink()
    shutil.copy(one.path, place / "nvidia-driver-release.rpm")  # a former one, well signed
    with pytest.raises(VerifyError, match="is not the package of that name"):
        verify_publication(place.as_uri(), site.keys[0], tmp_path / "v")


def test_a_package_that_would_be_hidden_or_seen_by_the_wrong_hosts_is_not_published(
    shop: Shop, site: Publisher
) -> None:
    content, release = two_streams(shop.rpms), site.release(1, site.keys[:1], shop.signer)
    part = content.streams[0]
    inside = replace(content, streams=(replace(part, artifacts=(*part.artifacts, release)), *content.streams[1:]))
    assert any("would hide the repository's own" in fault for fault in content_faults(inside))
    with pytest.raises(PublishError, match="in no stream, so every host would see it"):
        publish(
            replace(content, beside=part.artifacts[:1]),
            site.repo,
            public_key=shop.signer.public_key(),
            sign=lambda _path: b"",
            epoch=EPOCH,
            terms=TERMS,
        )


@pytest.fixture
def said() -> list[Event]:
    """What a run tells."""
    return []


@pytest.fixture
def run_of(shop: Shop, said: list[Event], tmp_path: Path) -> Iterator[Workshop]:
    """A run that has two drivers' sources, a buildroot and a key."""
    facts = Facts(keys=[shop.signer.public_key()])
    for driver in (sample.D535, sample.D550):
        facts.sources[driver.version, "x86_64"] = sample.sources(driver)
    chroot = EL9.chroots[0]
    facts.buildroots[chroot.name] = Buildroot(chroot=chroot, identity="b", packages=(), path=None)
    configuration: Any = SimpleNamespace(matrix=sample.MATRIX)
    signing: Any = SimpleNamespace(certificate=None, identity="", name=None)
    builder: Any = SimpleNamespace(recipe="r")
    with Store.open(tmp_path / "work") as store:
        yield Workshop(
            settings=Settings(config=Path("matrix.yaml"), work=tmp_path / "work", base_url="https://example.org/r"),
            configuration=configuration,
            store=store,
            builder=builder,
            signing=signing,
            listener=said.append,
            facts=facts,
        )


def outcomes(*drivers: Driver) -> dict[str, UnitOutcome]:
    units = [sample.unit(PackageKind.DRIVER, driver) for driver in drivers]
    return {unit.id: UnitOutcome(unit=unit, result=None, verdict=None, reason="built") for unit in units}


def test_it_is_released_anew_when_address_or_keys_change_and_for_no_driver(run_of: Workshop, shop: Shop) -> None:
    def job(run: Workshop, *drivers: Driver) -> Job:
        (unit,) = repository_releases(run, EL9, list(outcomes(*drivers).values()))
        made = make_job(run, unit, record=True)
        assert made is not None
        return made

    first = job(run_of, sample.D535)
    again = job(run_of, sample.D535, sample.D550)
    assert (again.serial, again.key) == (first.serial, first.key) == (1, first.key)
    moved = replace(run_of, settings=replace(run_of.settings, base_url="https://example.org/moved"))
    assert job(moved, sample.D535).serial == 2
    assert job(run_of, sample.D550).serial == 3  # back again: hosts do not go back by themselves
    run_of.facts.keys.append(shop.foreign.public_key())
    overlap = job(run_of, sample.D550)
    assert overlap.serial == 4
    assert overlap.sources.source_date_epoch == made_on(shop.foreign.public_key())


def test_without_an_address_there_is_none_and_the_run_says_so(run_of: Workshop, said: list[Event]) -> None:
    run = replace(run_of, settings=replace(run_of.settings, base_url=None))
    known = outcomes(sample.D535)
    streams = (StreamPlan(stream=stream("r535"), drivers=(sample.D535,), held=()),)
    assert build_releases(run, EL9, streams, known) == (streams, known)
    (event,) = said
    assert (event.stage, event.subject, event.state) == ("release", "el9/x86_64", "warning")
    assert "nvidia-driver-release not made: --base-url" in event.text
    for delivery in (Delivery.BRANCH_REPOS, Delivery.BRANCH_PACKAGES):  # these have others
        assert repository_releases(run_of, replace(EL9, delivery=delivery), list(known.values())) == ()
