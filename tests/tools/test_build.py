"""The chroot builder on the lab distribution: what comes out, how it fails, what a build can and cannot do.

One file above 300 lines because all of it shares one base root, which takes seconds to make.
"""

from __future__ import annotations

import os
import shutil
import socket
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

from builder.build import ChrootBuilder, HostBuilder, MockBuilder, make_srpm, open_builder
from builder.errors import (
    BuildDependencyError,
    BuildError,
    BuildrootError,
    BuildTimeoutError,
    DiskFullError,
    InterruptedRunError,
    RenderError,
    ToolMissingError,
)
from builder.model.matrix import RepositoryRef
from builder.model.sources import Buildroot, SpecFile
from builder.sign import Signer, new_key
from builder.store import Store
from builder.tools.dnf import Dnf
from builder.tools.rpms import extract_members, read_artifact, read_header
from builder.tools.run import cancel_all, reset_cancelled, run, which
from tests.lab.distro import LabDistro
from tests.memory import roomy_folder
from tests.need import need
from tests.tools import building
from tests.tools.publishing import make_rpms
from tests.tools.serving import served


@pytest.fixture(scope="module")
def buildroot(store: Store, distro: LabDistro) -> Buildroot:
    return ChrootBuilder(store).prepare(building.lab_chroot(distro))


Build = Callable[..., Path]


@pytest.fixture
def build(store: Store, buildroot: Buildroot, tmp_path: Path) -> Build:
    """Build the little package, changed as the arguments say; returns the resultdir."""
    numbers = count()

    def go(*, timeout: float = 120.0, root: Buildroot | None = None, **changes: str) -> Path:
        folder = tmp_path / f"build-{next(numbers)}"
        spec = building.spec(tmp_path / "sources", **changes)
        return building.build(ChrootBuilder(store), spec, root or buildroot, folder, timeout=timeout)

    return go


def test_a_c_package_builds_with_all_its_logs(build: Build) -> None:
    result = build()
    assert sorted(p.name for p in result.iterdir()) == [
        "build.log",
        "hello-1-1.lab9.src.rpm",
        "hello-1-1.lab9.x86_64.rpm",
        "installed_pkgs.log",
        "root.log",
        "state.log",
    ]
    assert str(read_artifact(result / "hello-1-1.lab9.x86_64.rpm").nevra) == "hello-1-1.lab9.x86_64"
    states = [line.split(" - ")[1] for line in (result / "state.log").read_text().splitlines()]
    assert states == [
        "Start: run",
        "Start: build setup for hello-1-1.lab9.src.rpm",
        "Finish: build setup for hello-1-1.lab9.src.rpm",
        "Start: rpmbuild hello-1-1.lab9.src.rpm",
        "Finish: rpmbuild hello-1-1.lab9.src.rpm",
        "Finish: run",
    ]


def test_two_builds_give_the_same_bytes(build: Build, store: Store, buildroot: Buildroot, tmp_path: Path) -> None:
    """Later, on the disk instead of in memory, with sources written anew: clock and place leave no trace."""
    first = building.digests(build(before="date +%s.%N > %{_builddir}/now"))
    shutil.rmtree(tmp_path / "sources")
    spec = building.spec(tmp_path / "sources", before="date +%s.%N > %{_builddir}/now")
    second = building.build(ChrootBuilder(store, memory=0), spec, buildroot, tmp_path / "other" / "longer folder name")
    assert building.digests(second) == first
    header = read_header(second / "hello-1-1.lab9.x86_64.rpm")
    assert (header.build_time, header.build_host) == (building.EPOCH, "repobuild")
    binary = extract_members(second / "hello-1-1.lab9.x86_64.rpm", ["/usr/bin/hello"])["/usr/bin/hello"]
    assert b"made Nov 14 2023" in binary


def test_build_requirements_come_from_the_repositories(build: Build, buildroot: Buildroot, distro: LabDistro) -> None:
    devel = distro.kernels[0].devel
    result = build(requires=f"BuildRequires: {devel.name} = {devel.evr}")
    extra = set((result / "installed_pkgs.log").read_text().splitlines()) - set(buildroot.packages)
    assert any(line.startswith(f"{devel.name}-{devel.evr}.") for line in extra)


def test_build_requirements_are_installed_once_for_builds_that_share_them(build: Build, distro: LabDistro) -> None:
    devel = distro.kernels[1].devel
    requires = f"BuildRequires: {devel.name} = {devel.evr}"
    first, second = build(requires=requires), build(requires=requires)
    told = "installed by an earlier build over this base"
    assert told not in (first / "root.log").read_text()
    assert (second / "root.log").read_text().splitlines()[-1] == told
    assert building.digests(first) == building.digests(second)
    lists = [(result / "installed_pkgs.log").read_text() for result in (first, second)]
    assert lists[0] == lists[1]


@pytest.mark.parametrize("requirement", ["nosuch-devel >= 2", "make >= 999:1", "(nosuch-devel or nosuch2-devel)"])
def test_a_missing_build_requirement_is_named(requirement: str, build: Build, tmp_path: Path) -> None:
    with pytest.raises(BuildDependencyError) as caught:
        build(requires=f"BuildRequires: {requirement}")
    assert caught.value.message == (
        f"hello@lab9: a build requirement cannot be installed: Unable to find a match: {requirement}"
    )
    assert caught.value.log == tmp_path / "build-0/result/root.log"
    assert not list((tmp_path / "build-0/result").glob("*.rpm"))


def test_a_compile_error_comes_with_the_compilers_words(build: Build, tmp_path: Path) -> None:
    with pytest.raises(BuildError) as caught:
        build(source="int main(void) { return nothing; }\n", after="echo never")
    assert type(caught.value) is BuildError
    assert "hello.c:1:25: error: " in caught.value.message
    assert any("error: Bad exit status from" in line for line in caught.value.details)
    assert caught.value.log == tmp_path / "build-0/result/build.log"


def test_a_spec_that_rpm_cannot_parse_in_the_root_is_said(build: Build) -> None:
    with pytest.raises(BuildError, match=r"rpm cannot parse the spec.*planted"):
        # The chroot has a packager macro, the host none.
        build(requires="%{?packager:%{error:planted}}")


def test_a_build_that_takes_too_long_is_stopped(build: Build) -> None:
    with pytest.raises(BuildTimeoutError, match="ran longer than 3 s and was stopped") as caught:
        build(before="echo waiting; sleep 1000", timeout=3)
    assert "waiting" in caught.value.details


def test_a_build_has_no_network_not_even_the_hosts_loopback(build: Build) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        with pytest.raises(BuildError) as caught:
            build(before=f"test $(wc -l < /proc/net/dev) = 3 && echo only lo; : < /dev/tcp/127.0.0.1/{port}")
    assert "only lo" in caught.value.details
    assert any("connect: Network is unreachable" in line for line in caught.value.details)


def test_a_build_runs_unprivileged_and_sees_no_host(build: Build) -> None:
    result = build(
        before="echo uid=$(id -u) groups=$(id -G); hostname; grep NoNewPrivs /proc/self/status; ls /dev/shm | wc -l;"
        "mkdir /mine || echo no root; ls /proc | grep -c '^[0-9]' > n; test $(cat n) -lt 20 && echo few processes;"
        "echo %{_smp_mflags} %{_smp_build_ncpus} %{packager}; test -e /root/.cache || echo no host files"
    )
    log = (result / "build.log").read_text().splitlines()
    said = ["uid=1000 groups=1000", "repobuild", "NoNewPrivs:\t1", "no root", "few processes", "-j2 2 lab"]
    assert [line for line in said if line not in log] == []
    assert "no host files" in log


def test_an_rpm_that_is_a_link_to_a_file_of_the_host_is_not_taken(build: Build, tmp_path: Path) -> None:
    (tmp_path / "secret.rpm").write_text("secret")
    link = f"mv %{{_rpmdir}} %{{_topdir}}/x; ln -s {tmp_path} %{{_rpmdir}}"
    with pytest.raises(BuildError, match="the RPMs cannot be taken out"):
        build(clean=link)
    with pytest.raises(BuildError, match="the RPMs cannot be taken out"):
        build(clean=f"ln -s {tmp_path}/secret.rpm %{{_rpmdir}}/secret.rpm")


def test_a_process_left_behind_does_not_outlive_its_build(build: Build) -> None:
    build(before="(setsid sleep 987654 >/dev/null 2>&1 &)")
    running = [p.read_bytes() for p in Path("/proc").glob("[0-9]*/cmdline") if p.exists()]
    assert not [line for line in running if b"987654" in line]


def test_four_builds_at_once_do_not_meet(store: Store, buildroot: Buildroot, distro: LabDistro, tmp_path: Path) -> None:
    devel = distro.kernels[0].devel
    spec = building.spec(tmp_path / "sources", requires=f"BuildRequires: {devel.name} = {devel.evr}")
    with ThreadPoolExecutor(4) as pool:
        one = partial(building.build, ChrootBuilder(store), spec, buildroot)
        results = list(pool.map(one, [tmp_path / str(n) for n in range(4)]))
    assert len({tuple(building.digests(r).items()) for r in results}) == 1


def test_a_build_too_big_for_its_memory_goes_on_the_disk(store: Store, buildroot: Buildroot, tmp_path: Path) -> None:
    spec = building.spec(tmp_path / "sources", before="head -c 9000000 /dev/zero > big")
    builder = ChrootBuilder(store, memory=4 << 20)
    with pytest.raises(DiskFullError, match="hello@lab9: no space left on device"):
        builder._build(building.request_for(spec, buildroot, tmp_path / "once"), 4 << 20)
    assert building.digests(building.build(builder, spec, buildroot, tmp_path / "twice"))


def test_a_buildroot_of_another_machine_is_refused(store: Store, buildroot: Buildroot) -> None:
    with pytest.raises(BuildrootError, match=f"its programs are s390x, this machine is {os.uname().machine}"):
        ChrootBuilder(store).prepare(replace(buildroot.chroot, arch="s390x"))


def test_an_interrupted_build_ends_at_once(build: Build, tmp_path: Path) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, before="sleep 1000")
        log = tmp_path / "build-0/result/build.log"
        while not (log.is_file() and "+ sleep 1000" in log.read_text()):
            wait([running], timeout=0.02)
            assert not running.done()
        try:
            cancel_all()
            with pytest.raises(InterruptedRunError):
                running.result()
        finally:
            reset_cancelled()


def test_a_base_root_is_made_once_for_a_state_of_the_repositories(
    store: Store, buildroot: Buildroot, distro: LabDistro
) -> None:
    builder = ChrootBuilder(store)
    made = buildroot.path.stat().st_ino if buildroot.path else None
    again = builder.prepare(building.lab_chroot(distro))
    assert again == buildroot == builder.find(building.lab_chroot(distro))
    assert again.path is not None
    assert again.path.stat().st_ino == made


def test_a_base_root_has_no_trace_of_how_it_was_made(buildroot: Buildroot, store: Store) -> None:
    root = buildroot.path
    assert root is not None
    assert [p.name for p in (root / "var/log").rglob("*")] == []
    assert [p.name for p in (root / "tmp").iterdir()] == []
    assert (root / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert [p.name for folder in ("dev", "proc") for p in (root / folder).iterdir()] == []


def test_a_changed_repository_makes_another_root_and_drops_the_old(tmp_path: Path, distro: LabDistro) -> None:
    repository = tmp_path / "extra"
    extra = RepositoryRef(id="extra", baseurl=str(repository), gpgcheck=False)
    chroot = building.lab_chroot(distro, extra, packages=building.SMALL)
    make_rpms(repository, [("one", "0", "1", "1")])
    createrepo(repository)
    with roomy_folder(tmp_path) as folder, Store.open(folder / "work") as store:
        builder = ChrootBuilder(store)
        first = builder.prepare(chroot)
        make_rpms(repository, [("two", "0", "1", "1")])
        createrepo(repository)
        assert builder.find(chroot) is None
        second = builder.prepare(chroot)
        assert first.repositories != second.repositories
        assert first.identity == second.identity  # the same packages are in it
        assert [p.name for p in (folder / "work/store/roots").iterdir()] == [second.path.parent.name]  # type: ignore[union-attr]


def test_a_base_package_that_no_repository_has_is_named(store: Store, distro: LabDistro) -> None:
    with pytest.raises(BuildrootError, match="cannot be made: Unable to find a match: nosuch-package"):
        ChrootBuilder(store).prepare(building.lab_chroot(distro, packages=("bash", "nosuch-package")))


def test_a_base_without_rpmbuild_is_refused(store: Store, distro: LabDistro) -> None:
    with pytest.raises(BuildrootError, match="has no working rpmbuild"):
        ChrootBuilder(store).prepare(building.lab_chroot(distro, packages=("bash", "coreutils")))


def test_a_repository_that_is_not_there_is_named(store: Store, distro: LabDistro, tmp_path: Path) -> None:
    nowhere = RepositoryRef(id="nowhere", baseurl=f"file://{tmp_path}/nowhere", gpgcheck=False)
    with pytest.raises(BuildrootError, match=r"repository nowhere: .*No such file or directory"):
        ChrootBuilder(store).prepare(building.lab_chroot(distro, nowhere))


def createrepo(folder: Path) -> None:
    run(["createrepo_c", "-q", folder], timeout=60)


@pytest.fixture(scope="module")
def signed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A repository over HTTP-able files: one signed and one unsigned package, and the key."""
    need("gpg", "rpmsign")
    folder = tmp_path_factory.mktemp("signed")
    home = folder / "home"
    home.mkdir(mode=0o700)
    signer = Signer.open(home, new_key(home, "Lab"))
    made = make_rpms(folder / "made", [("signed-tool", "0", "1", "1"), ("unsigned-tool", "0", "1", "1")])
    repository = folder / "repository"
    repository.mkdir()
    signer.sign_rpms([made["signed-tool-1-1"]], repository, epoch=building.EPOCH)
    shutil.copy(made["unsigned-tool-1-1"].path, repository)
    (repository / "KEY").write_bytes(signer.public_key())
    createrepo(repository)
    return repository


@pytest.fixture
def url(signed: Path) -> Iterator[str]:
    with served(signed) as address:
        yield address


def test_signatures_of_buildroot_repositories_are_checked_over_http(
    url: str, signed: Path, store: Store, distro: LabDistro, build: Build
) -> None:
    repository = RepositoryRef(id="signed", baseurl=url, gpgkey=f"{signed}/KEY")
    chroot = building.lab_chroot(distro, repository, packages=building.SMALL)
    root = ChrootBuilder(store).prepare(chroot)
    result = build(root=root, requires="BuildRequires: signed-tool", before="test -f /opt/lab/signed-tool/release")
    assert "signed-tool-0:1-1.x86_64" in (result / "installed_pkgs.log").read_text()
    with pytest.raises(BuildrootError, match="cannot be had") as caught:
        build(root=root, requires="BuildRequires: unsigned-tool")
    assert any("unsigned-tool" in line and "not signed" in line for line in caught.value.details)
    # dnf had the network in this build's namespaces; the build itself must not.
    port = url.rsplit(":", 1)[1]
    with pytest.raises(BuildError) as refused:
        build(root=root, before=f": < /dev/tcp/127.0.0.1/{port}")
    assert any("connect: Network is unreachable" in line for line in refused.value.details)


def test_a_kernels_devel_package_is_downloaded_and_read(distro: LabDistro, tmp_path: Path) -> None:
    kernel = distro.kernels[0]
    (tmp_path / "dnf").mkdir()
    dnf = Dnf(building.lab_chroot(distro), tmp_path / "dnf")
    rpm = dnf.download(f"{kernel.devel.name}-{kernel.devel.evr}.x86_64", "x86_64", tmp_path)
    symvers = f"{kernel.devel_path}/Module.symvers"
    found = extract_members(rpm, (symvers, "/no/such/file"))
    assert list(found) == [symvers]
    assert b"\tmodule_layout\t" in found[symvers]


def test_a_source_package_is_the_same_each_time(buildroot: Buildroot, tmp_path: Path) -> None:
    paths = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        spec = building.spec(tmp_path / name / "sources")
        dist = building.distribution(buildroot.chroot)
        paths.append(make_srpm(spec, tmp_path / name, dist=dist, source_date_epoch=building.EPOCH))
    assert paths[0].read_bytes() == paths[1].read_bytes()


def test_a_spec_that_the_host_cannot_parse_has_rpms_words(buildroot: Buildroot, tmp_path: Path) -> None:
    broken = SpecFile(filename="broken.spec", text="Name: broken\nVersion:\n", sources=())
    with pytest.raises(RenderError, match=r"broken\.spec: rpmbuild cannot make") as caught:
        make_srpm(broken, tmp_path, dist=building.distribution(buildroot.chroot), source_date_epoch=0)
    assert any("line 2" in line for line in caught.value.details)


def test_the_host_builder_builds_with_what_is_here(store: Store, distro: LabDistro, tmp_path: Path) -> None:
    need("gcc")
    builder = HostBuilder(store)
    root = builder.prepare(building.lab_chroot(distro))
    result = building.build(builder, building.spec(tmp_path / "sources"), root, tmp_path / "build")
    assert [p.suffix for p in sorted(result.glob("hello-1-1*.rpm"))] == [".rpm", ".rpm"]
    with pytest.raises(BuildError, match=r"hello\.c:1:.*error:"):
        building.build(builder, building.spec(tmp_path / "bad", source="int"), root, tmp_path / "failed")


def test_builders_are_opened_by_name(store: Store) -> None:
    expected = MockBuilder if which("mock") else ChrootBuilder
    assert isinstance(open_builder("auto", store, str), expected)
    assert isinstance(open_builder("chroot", store, str), ChrootBuilder)
    assert isinstance(open_builder("host", store, str), HostBuilder)
    if expected is ChrootBuilder:
        with pytest.raises(ToolMissingError, match="mock is not installed"):
            open_builder("mock", store, str)
