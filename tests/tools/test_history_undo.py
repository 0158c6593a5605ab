"""``dnf history undo`` finds what a host had though kernels were published since; no kernel comes in by that way."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from itertools import chain
from pathlib import Path

import pytest

from builder.model.cells import Artifact, PackageKind
from builder.model.matrix import Delivery, Distribution, Driver, Kernel
from builder.model.publication import Publication, PublicationContent, StreamContent
from builder.model.sources import SpecFile
from builder.publish import client_repository, prove_transitions, publish, with_former
from builder.publish.former import KEPT
from builder.render import render_gate, render_release
from builder.sign import Signer, new_key
from builder.tools.rpms import read_artifact
from builder.tools.run import run
from tests.golden import sample
from tests.need import need
from tests.once import session_top
from tests.tools import publishing
from tests.tools.branch_repos import PROFILE, Host
from tests.tools.rpm_building import build
from tests.tools.stream_repository import OTHER_KERNEL, STUBS, Repository

GATE, RELEASE = PackageKind.GATE.value, PackageKind.RELEASE.value
OURS = ("*nvidia*", "cuda-drivers")
OLD, NEW = sample.D535, sample.D550
FIRST, SECOND = sample.K427, sample.K503
WITHOUT_OTHERS = sample.distribution(other_kernels=())


class Site:
    """Stream ``latest`` as time goes by: another driver, then a kernel; each publication signed, in a repository."""

    def __init__(self, top: Path, built: Repository) -> None:
        self.top = top
        new_key(top / "key", "history")
        self.signer = Signer.open(top / "key")
        self.base = top / "base"
        self.base.mkdir()
        for name in (*STUBS, f"kernel-core-{FIRST.core.evr}", f"kernel-core-{SECOND.core.evr}", OTHER_KERNEL):
            for rpm in built.folder.glob(f"{name}[-.][0-9x]*.rpm"):
                (self.base / rpm.name).hardlink_to(rpm)
        run(["createrepo_c", "-q", "--compress-type", "gz", self.base], timeout=120)
        self.drivers = {
            driver: [read_artifact(a.path) for a in built.streams[name] if a.nevra.name != GATE]
            for driver, name in ((OLD, "r535-open"), (NEW, "r550-open"))
        }
        self.late: dict[str, Artifact] = {}
        for driver in (OLD, NEW):
            self.late[f"{driver.version}-1"] = self.gate(driver, 1, FIRST)
            self.late[f"{driver.version}-2"] = self.gate(driver, 2, FIRST, SECOND)
            for delivery in (Delivery.MODULAR, Delivery.BRANCH_REPOS):
                self.late[f"{driver.version}-{delivery}"] = self.release(driver, delivery)
        self.late["short-sighted"] = self.gate(NEW, 0, FIRST, dist=WITHOUT_OTHERS)
        self.sign()

    def gate(self, driver: Driver, serial: int, *kernels: Kernel, dist: Distribution = sample.EL9) -> Artifact:
        known = sample.gate_kernels(*kernels, d=driver, kernels=sample.KERNELS[:3])
        return self.made(render_gate(sample.gate(driver, dist=dist), known, serial, sample.MATRIX))

    def release(self, driver: Driver, delivery: Delivery) -> Artifact:
        unit = replace(sample.unit(PackageKind.RELEASE, driver), stream="latest")
        repo = self.repo(delivery, "now")
        return self.made(
            render_release(
                unit, sample.MATRIX, client_repository("nvidia-driver", "el9", delivery, repo.as_uri()), serial=1
            ),
            delivery.value,
        )

    def made(self, spec: SpecFile, folder: str = "gates") -> Artifact:
        (rpm,) = build(spec, self.top / "work")
        kept = self.top / folder / rpm.path.name
        kept.parent.mkdir(exist_ok=True)
        return read_artifact(rpm.path.rename(kept))

    def sign(self) -> None:
        unsigned = {a.sha256: a for a in (*self.late.values(), *chain(*self.drivers.values()))}
        signed: dict[str, Artifact] = {}
        for folder in {a.path.parent for a in unsigned.values()}:
            batch = [a for a in unsigned.values() if a.path.parent == folder]
            target = self.top / "signed" / str(len(signed))
            target.mkdir(parents=True)
            copies = self.signer.sign_rpms(batch, target, epoch=publishing.EPOCH)
            signed |= dict(zip((a.sha256 for a in batch), copies, strict=True))
        self.late = {name: signed[a.sha256] for name, a in self.late.items()}
        self.drivers = {driver: [signed[a.sha256] for a in found] for driver, found in self.drivers.items()}

    def repo(self, delivery: Delivery, name: str) -> Path:
        return self.top / f"{name}-{delivery.value}"

    def content(self, delivery: Delivery, drivers: Sequence[Driver], gates: int, *more: Artifact) -> PublicationContent:
        """Drivers with their gates of one serial; kmods of the second kernel come with the second gates."""
        artifacts = [a for driver in drivers for a in self.drivers[driver]]
        if gates == 1:
            artifacts = [a for a in artifacts if a.nevra.name != f"kmod-nvidia-{SECOND.label}"]
        artifacts += [*(self.late[f"{driver.version}-{gates}"] for driver in drivers), *more]
        if delivery is Delivery.BRANCH_REPOS:
            artifacts.append(self.late[f"{drivers[-1].version}-{delivery}"])
        part = StreamContent(
            stream=publishing.stream("latest", default=True, packages=PROFILE),
            driver_versions=tuple(d.version for d in drivers),
            artifacts=tuple(sorted({str(a.nevra): a for a in artifacts}.values(), key=lambda a: str(a.nevra))),
        )
        return PublicationContent(
            module="nvidia-driver",
            distribution="el9",
            platform="el9",
            arch="x86_64",
            streams=(part,),
            sources=(),
            delivery=delivery,
        )

    def publish(self, content: PublicationContent, repo: Path, *, keep: bool = True) -> Publication:
        return publish(
            with_former(content, repo) if keep else content,
            repo,
            public_key=self.signer.public_key(),
            sign=partial(self.signer.sign_detached, epoch=publishing.EPOCH),
            epoch=publishing.EPOCH,
            terms=publishing.TERMS,
            base_url=self.repo(content.delivery, "now").as_uri(),
        )


@pytest.fixture(scope="module")
def site(streams: Repository, tmp_path_factory: pytest.TempPathFactory) -> Site:
    need("dnf", "rpmsign", "gpg", "gpg-connect-agent")
    return Site(tmp_path_factory.mktemp("history"), streams)


@pytest.fixture(params=["modular", "branch-repos", "branch-repos, dnf5"])
def way(request: pytest.FixtureRequest) -> tuple[Delivery, Path | None]:
    """How streams come, and the root of the dnf that asks for them; None for this machine's dnf 4."""
    delivery, _, dnf = request.param.partition(", ")
    return Delivery(delivery), request.getfixturevalue("dnf5_root") if dnf else None


class Admin:
    """A host of the repository ``now``, which is a link to where the publications of one test go."""

    def __init__(self, site: Site, host: Host, delivery: Delivery, folder: Path) -> None:
        self.site, self.host, self.delivery = site, host, delivery
        self.repo = folder / "repo"
        now = site.repo(delivery, "now")
        now.unlink(missing_ok=True)
        now.symlink_to(self.repo)
        host.configure(site.base, best=1, module_platform_id="platform:el9", metadata_expire=0)
        host.run("dnf", "-y", "install", f"kernel-core-{FIRST.core.evr}")
        key = host.folder / "key.asc"
        key.write_bytes(site.signer.public_key())
        host.run("rpm", "--import", str(key))

    def publish(self, drivers: Sequence[Driver], gates: int, *more: Artifact, keep: bool = True) -> Publication:
        return self.site.publish(self.site.content(self.delivery, drivers, gates, *more), self.repo, keep=keep)

    def install(self) -> None:
        if self.delivery is Delivery.MODULAR:
            text = (self.repo / "el9.repo").read_text()
            (self.host.root / "etc/yum.repos.d/ours.repo").write_text(text)
        else:
            self.host.run("dnf", "-y", "install", str(self.repo / f"el9/x86_64/{RELEASE}.rpm"))
        self.host.run("dnf", "-y", "install", *PROFILE)

    def gate(self) -> str:
        return self.host.installed()[GATE]

    def kmods(self) -> set[str]:
        return {name.removeprefix("kmod-nvidia-") for name in self.host.installed() if name.startswith("kmod-nvidia-")}


Make = Callable[[tuple[Delivery, Path | None]], Admin]


@pytest.fixture
def make(site: Site, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    hosts: list[Host] = []

    def made(way: tuple[Delivery, Path | None]) -> Admin:
        hosts.append(Host(tmp_path / "host", session_top(tmp_path_factory), way[1]))
        return Admin(site, hosts[-1], way[0], tmp_path)

    yield made
    for host in hosts:
        host.close()


def evrs(*kernels: Kernel) -> list[str]:
    return sorted(str(k.core.evr) for k in kernels)


def test_a_kernel_that_came_is_undone_and_done_again(make: Make, way: tuple[Delivery, Path | None]) -> None:
    admin = make(way)
    admin.publish([OLD, NEW], 1)
    admin.install()
    assert admin.gate() == f"{NEW.version}-1.open.el9"
    admin.publish([OLD, NEW], 2)
    for _ in range(2):
        admin.host.run("dnf", "-y", "upgrade")
        assert (admin.gate(), admin.host.kernels()) == (f"{NEW.version}-2.open.el9", evrs(FIRST, SECOND))
        assert admin.kmods() == {FIRST.label, SECOND.label}
        admin.host.run("dnf", "-y", "history", "undo", "last")
        assert (admin.gate(), admin.host.kernels()) == (f"{NEW.version}-1.open.el9", evrs(FIRST))
        assert admin.kmods() == {FIRST.label}


def test_a_driver_update_is_undone_though_a_kernel_was_published_since(
    make: Make, way: tuple[Delivery, Path | None]
) -> None:
    admin = make(way)
    admin.publish([OLD], 1)
    admin.install()
    before = admin.host.installed()
    admin.publish([OLD, NEW], 1)
    admin.host.run("dnf", "-y", "upgrade", *OURS)
    assert admin.gate() == f"{NEW.version}-1.open.el9"
    admin.publish([OLD, NEW], 2)
    admin.host.run("dnf", "-y", "history", "undo", "last")
    assert admin.host.installed() == before
    assert admin.host.kernels() == evrs(FIRST)
    admin.host.run("dnf", "-y", "upgrade")
    assert (admin.gate(), admin.host.kernels()) == (f"{NEW.version}-2.open.el9", evrs(FIRST, SECOND))


def test_without_the_former_gate_it_is_refused(make: Make) -> None:
    admin = make((Delivery.MODULAR, None))
    admin.publish([OLD, NEW], 1)
    admin.install()
    admin.publish([OLD, NEW], 2, keep=False)
    admin.host.run("dnf", "-y", "upgrade")
    refused = admin.host.run("dnf", "-y", "history", "undo", "last", ok=(1,))
    assert f'Cannot find rpm nevra "{GATE}-' in refused.stdout + refused.stderr


def test_a_former_gate_that_keeps_a_kernel_out_no_more_is_no_way_in(make: Make, site: Site) -> None:
    """dnf goes back to an older gate to install what the newest keeps out: so such a one is not kept."""
    admin = make((Delivery.MODULAR, None))
    admin.publish([NEW], 1, keep=False)
    admin.install()
    refused = admin.host.run("dnf", "-y", "install", OTHER_KERNEL, ok=(1,))
    assert GATE in refused.stdout + refused.stderr
    short = site.late["short-sighted"]
    admin.publish([NEW], 1, short, keep=False)
    admin.host.run("dnf", "-y", "install", OTHER_KERNEL)
    assert admin.gate() == f"{NEW.version}-0.open.el9", "what must not happen to anyone"
    kept = with_former(site.content(Delivery.MODULAR, [NEW], 1), admin.repo)
    assert [a.nevra.evr.release for a in kept.streams[0].artifacts if a.nevra.name == GATE] == ["1.open.el9"]


def test_a_gate_for_another_kernel_waits_while_a_host_has_one_that_was_let_in_past_dnf(
    make: Make, site: Site, streams: Repository
) -> None:
    admin = make((Delivery.MODULAR, None))
    admin.publish([NEW], 1)
    admin.install()
    (rpm,) = streams.folder.glob(f"kernel-core-{sample.K570.core.evr}*.rpm")
    admin.host.run("rpm", "-i", "--nodeps", "--noscripts", str(rpm))
    admin.host.run("dnf", "-y", "upgrade", *OURS)
    admin.publish([NEW], 2)
    refused = admin.host.run("dnf", "-y", "upgrade", ok=(1,))
    assert f"conflicts with kernel-core > {SECOND.core.evr}" in refused.stdout + refused.stderr
    admin.host.run("dnf", "-y", "upgrade", "--nobest")
    assert admin.gate() == f"{NEW.version}-1.open.el9"
    assert str(SECOND.core.evr) not in admin.host.kernels()


@pytest.mark.parametrize("delivery", [Delivery.MODULAR, Delivery.BRANCH_REPOS])
def test_the_gate_proves_the_streams_with_what_they_keep_and_a_rerun_changes_nothing(
    delivery: Delivery, site: Site, tmp_path: Path
) -> None:
    first = site.publish(site.content(delivery, [OLD], 1), tmp_path)
    site.publish(site.content(delivery, [OLD, NEW], 1), tmp_path)
    content = site.content(delivery, [OLD, NEW], 2)
    second = site.publish(content, tmp_path)
    assert not site.publish(content, tmp_path).changed
    kept = {str(a.nevra) for a in with_former(content, tmp_path).streams[0].artifacts}
    more = kept - {str(a.nevra) for a in content.streams[0].artifacts}
    expected = {site.late[f"{d.version}-1"] for d in (OLD, NEW)}
    if delivery is Delivery.BRANCH_REPOS:
        expected.add(site.late[f"{OLD.version}-{delivery}"])
    assert more == {str(a.nevra) for a in expected}
    proof = prove_transitions(second.path, first.path)
    assert proof.faults == ()


def test_what_is_kept_does_not_grow_and_leaves_with_its_kernel_and_its_driver(site: Site, tmp_path: Path) -> None:
    serials = range(10, 10 + KEPT + 3)
    gates = [site.gate(NEW, serial, FIRST) for serial in serials]

    def kept(drivers: Sequence[Driver], gate: Artifact) -> list[str]:
        content = site.content(Delivery.MODULAR, drivers, 1, gate)
        part = content.streams[0]
        own = tuple(a for a in part.artifacts if (a.nevra.name, a.nevra.evr.release) != (GATE, "1.open.el9"))
        content = replace(content, streams=(replace(part, artifacts=own),))
        found = with_former(content, tmp_path)
        publish(
            found, tmp_path, public_key=site.signer.public_key(), sign=lambda _: b"", epoch=1, terms=publishing.TERMS
        )
        return [a.nevra.evr.release for a in found.streams[0].artifacts if a.nevra.name == GATE]

    for number, gate in enumerate(gates):
        found = kept([NEW], gate)
        assert found == [f"{serial}.open.el9" for serial in serials[max(0, number - KEPT) : number + 1]]
    # The first kernel and its module are gone: no former gate could be installed any more.
    assert kept([NEW], site.gate(NEW, 40, SECOND)) == ["40.open.el9"]
    assert kept([OLD], site.gate(OLD, 41, FIRST)) == ["41.open.el9"]


def test_a_damaged_file_of_the_former_publication_is_left_out(site: Site, tmp_path: Path) -> None:
    first = site.publish(site.content(Delivery.MODULAR, [NEW], 1), tmp_path)
    (rpm,) = first.path.glob(f"Packages/n/{GATE}-*.rpm")
    content = rpm.read_bytes()
    rpm.unlink()  # not through the link to what was signed
    after = site.content(Delivery.MODULAR, [NEW], 2)
    assert with_former(after, tmp_path) == after
    rpm.write_bytes(content[:-10] + b"0123456789")
    assert with_former(after, tmp_path) == after
    rpm.write_bytes(content)
    for_yum = replace(after, delivery=Delivery.BRANCH_PACKAGES)
    assert with_former(for_yum, tmp_path) == for_yum, "the rule leans on dependencies that yum does not know"
    assert len(with_former(after, tmp_path).streams[0].artifacts) == len(after.streams[0].artifacts) + 1
