"""The mock builder on the lab distribution: the chroot builder's bytes, and every failure in its kind.

Where mock is installed; Debian has no package of it.
"""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from itertools import count
from pathlib import Path

import pytest

import builder
from builder.build import ChrootBuilder, MockBuilder, open_builder
from builder.errors import (
    BuildDependencyError,
    BuildError,
    BuildKilledError,
    BuildrootError,
    BuildTimeoutError,
    DiskFullError,
    InterruptedRunError,
    RepositoryError,
)
from builder.model.matrix import Chroot, RepositoryRef
from builder.model.sources import Buildroot
from builder.render import render_mock_config
from builder.store import Store
from builder.tools.rpmbuild import last_macro_file
from builder.tools.run import cancel_all, reset_cancelled, run, which
from tests.lab.distro import LabDistro, make_distro
from tests.lab.matrix import MOCK_TEMPLATE
from tests.memory import roomy_folder
from tests.tools import building
from tests.tools.publishing import make_rpms
from tests.tools.serving import served

pytestmark = pytest.mark.skipif(which("mock") is None, reason="mock is not installed: Fedora and EPEL have it")

Build = Callable[..., Path]


def mock_chroot(distro: LabDistro, *more: RepositoryRef, packages: tuple[str, ...] | None = None) -> Chroot:
    chroot = building.lab_chroot(distro, *more, packages=packages)
    return replace(chroot, template=MOCK_TEMPLATE.name, template_text=MOCK_TEMPLATE.read_text())


def configuration(chroot: Chroot) -> str:
    return render_mock_config(chroot, building.distribution(chroot))


def mock_builder(store: Store, *, memory: int | None = None) -> MockBuilder:
    return MockBuilder(store, configuration, memory=memory)


@pytest.fixture(scope="module")
def buildroot(store: Store, distro: LabDistro) -> Buildroot:
    return mock_builder(store).prepare(mock_chroot(distro))


@pytest.fixture
def build(store: Store, buildroot: Buildroot, tmp_path: Path) -> Build:
    """Build the little package, changed as the arguments say; returns the resultdir."""
    numbers = count()

    def go(*, timeout: float = 120.0, **changes: str) -> Path:
        folder = tmp_path / f"build-{next(numbers)}"
        spec = building.spec(tmp_path / "sources", **changes)
        return building.build(mock_builder(store), spec, buildroot, folder, timeout=timeout)

    return go


def test_mock_and_the_chroot_builder_make_the_same_bytes_in_the_same_root(
    build: Build, store: Store, buildroot: Buildroot, distro: LabDistro, tmp_path: Path
) -> None:
    result = build()
    logs = {"build.log", "installed_pkgs.log", "root.log", "state.log"}
    assert {p.name for p in result.iterdir()} == {"hello-1-1.lab9.src.rpm", "hello-1-1.lab9.x86_64.rpm", *logs}
    assert (result / "state.log").read_text().rstrip().endswith("Finish: run")
    packages = (result / "installed_pkgs.log").read_text()
    assert set(buildroot.packages) <= set(packages.splitlines())
    chroot = ChrootBuilder(store)
    root = chroot.prepare(mock_chroot(distro))
    assert (root.identity, root.packages) == (buildroot.identity, buildroot.packages)
    spec = building.spec(tmp_path / "sources")
    on_disk = building.build(mock_builder(store, memory=0), spec, buildroot, tmp_path / "disk")
    for other in (building.build(chroot, spec, root, tmp_path / "chroot"), on_disk):
        assert building.digests(other) == building.digests(result)
        assert (other / "installed_pkgs.log").read_text() == packages


# A host of its own: what rpm's files of macros say lies over them in a mount namespace.
ELSEWHERE = 'mount --bind "$1" "$2" && shift 2 && exec "$@"'


def test_a_host_whose_rpm_has_its_database_elsewhere_fills_the_same_root(
    buildroot: Buildroot, distro: LabDistro, tmp_path: Path
) -> None:
    last = last_macro_file()
    macros = tmp_path / "macros"
    macros.write_text(f"{last.read_text()}\n%_dbpath /var/lib/rpm-of-this-host\n")
    host = ["unshare", "-m", "--propagation", "private", "sh", "-c", ELSEWHERE, "sh", str(macros), str(last)]
    assert run([*host, "rpm", "--eval", "%_dbpath"], timeout=60).stdout.strip() == "/var/lib/rpm-of-this-host"
    # The second transaction must find in the database what the first put there.
    devel = distro.kernels[0].devel
    requires = f"BuildRequires: {devel.name} = {devel.evr}"
    here = f"from pathlib import Path; from {__name__} import fill_and_build"
    program = f"{here}; fill_and_build(Path({str(tmp_path)!r}), {requires!r})"
    home = {"HOME": str(Path.home())}  # where the lab's distribution is kept
    run([*host, sys.executable, "-c", program], cwd=Path(builder.__file__).parents[1], timeout=1800, env=home)
    packages = set((tmp_path / "build/result/installed_pkgs.log").read_text().splitlines())
    assert set(buildroot.packages) < packages
    assert any(line.startswith(f"{devel.name}-") for line in packages)


def fill_and_build(folder: Path, requires: str) -> None:
    """In a store of its own the root, and the little package in it."""
    distro = make_distro()
    with roomy_folder(folder) as work, Store.open(work / "work") as store:
        root = mock_builder(store).prepare(mock_chroot(distro))
        spec = building.spec(folder / "sources", requires=requires)
        building.build(mock_builder(store), spec, root, folder / "build")


def test_a_host_whose_rpm_cannot_be_told_where_is_named(tmp_path: Path) -> None:
    """``/etc/rpm/<platform>/macros`` is read after the files for all platforms, and by no machine we know of."""
    platform = run(["rpm", "--eval", "%{_target}"], timeout=60).stdout.strip()
    etc = tmp_path / "etc"
    (etc / "rpm" / platform).mkdir(parents=True)
    (etc / "rpm" / platform / "macros").write_text("%_dbpath /var/lib/rpm-of-this-host\n")
    over = f'mount -t overlay -o lowerdir={etc}:/etc overlay /etc && exec "$@"'
    program = "from builder.build.mock_call import probe_database; probe_database('/var/lib/rpm')"
    host = ["unshare", "-m", "--propagation", "private", "sh", "-c", over, "sh"]
    done = run([*host, sys.executable, "-c", program], cwd=Path(builder.__file__).parents[1], timeout=60, ok=(1,))
    assert "this host's rpm would have the database of a root in /var/lib/rpm-of-this-host, not in" in done.stderr


@pytest.mark.parametrize("manager", ["dnf5", "yum"])
def test_what_this_host_lacks_of_fedora_and_el7_its_dnf_does(
    store: Store, buildroot: Buildroot, distro: LabDistro, manager: str
) -> None:
    """mock asks whether that is well, and waits for somebody to press Enter, unless told that it is."""
    if which(manager) is not None:
        pytest.skip(f"{manager} is here")
    chroot = mock_chroot(distro)
    assert chroot.template_text.count('"dnf", "dnf.conf"') == 1
    text = chroot.template_text.replace('"dnf", "dnf.conf"', f'"{manager}", "{manager.rstrip("5")}.conf"')
    root = mock_builder(store).prepare(replace(chroot, name=f"{manager}-x86_64", template_text=text))
    assert root.identity == buildroot.identity


def test_a_root_is_made_once_for_a_state_of_the_repositories(
    store: Store, buildroot: Buildroot, distro: LabDistro
) -> None:
    assert mock_builder(store).find(mock_chroot(distro)) == buildroot
    assert mock_builder(store).prepare(mock_chroot(distro)) == buildroot


def test_build_requirements_come_from_the_repositories_and_a_missing_one_is_named(
    build: Build, distro: LabDistro
) -> None:
    devel = distro.kernels[0].devel
    path = distro.kernels[0].devel_path
    build(requires=f"BuildRequires: {devel.name} = {devel.evr}", before=f"test -f {path}/Module.symvers")
    with pytest.raises(BuildDependencyError, match=r"a build requirement cannot be installed: .*nosuch-devel"):
        build(requires="BuildRequires: nosuch-devel >= 2")


def test_a_compile_error_comes_with_the_compilers_words(build: Build, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r"the build failed: hello\.c:1:25: error: ") as caught:
        build(source="int main(void) { return nothing; }\n")
    assert type(caught.value) is BuildError
    assert caught.value.log == tmp_path / "build-0/result/build.log"
    assert not list((tmp_path / "build-0/result").glob("*.rpm"))


def test_a_build_that_takes_too_long_is_stopped_and_leaves_nothing(build: Build) -> None:
    with pytest.raises(BuildTimeoutError, match="ran longer than 5 s and was stopped"):
        build(before="sleep 987123", timeout=5)
    assert left_behind("987123") == []


def test_a_build_is_unprivileged_without_network_and_leaves_no_process(build: Build) -> None:
    result = build(
        before="test $(id -u) != 0; test $(wc -l < /proc/net/dev) = 3; test ! -e /root/.cache;"
        "(setsid sleep 987124 >/dev/null 2>&1 &); echo %{_smp_mflags} %{_smp_build_ncpus} %{packager}"
    )
    assert "-j2 2 lab" in (result / "build.log").read_text().splitlines()
    assert left_behind("987124") == []


def test_requirements_come_over_the_network_and_the_build_has_none(
    store: Store, distro: LabDistro, tmp_path: Path
) -> None:
    repository = tmp_path / "repository"
    make_rpms(repository, [("tool", "0", "1", "1")])
    run(["createrepo_c", "-q", repository], timeout=60)
    with served(repository) as url:
        remote = RepositoryRef(id="remote", baseurl=url, gpgcheck=False)
        builder = mock_builder(store)
        root = builder.prepare(replace(mock_chroot(distro, remote), name="remote-x86_64"))
        spec = building.spec(
            tmp_path / "sources",
            requires="BuildRequires: tool",
            before=f"test -f /opt/lab/tool/release; : < /dev/tcp/127.0.0.1/{url.rsplit(':', 1)[1]}",
        )
        with pytest.raises(BuildError) as caught:
            building.build(builder, spec, root, tmp_path / "build")
    assert any("connect: Network is unreachable" in line for line in caught.value.details)


def test_an_interrupted_build_ends_at_once_with_nothing_mounted(build: Build, store: Store) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, before="sleep 987125")
        while not left_behind("987125"):
            wait([running], timeout=0.05)
            assert not running.done()
        try:
            cancel_all()
            with pytest.raises(InterruptedRunError):
                running.result()
        finally:
            reset_cancelled()
    wait_for_the_end_of("987125")
    assert str(store.work) not in Path("/proc/mounts").read_text()
    assert list((store.work / "tmp").iterdir()) == []


@pytest.fixture
def hear_ctrl_c() -> Iterator[None]:
    """Tests in the background have it ignored, and so would what they start."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("hear_ctrl_c")
@pytest.mark.parametrize(("number", "name"), [(signal.SIGTERM, "SIGTERM"), (signal.SIGINT, "SIGINT")])
def test_a_mock_that_somebody_stops_is_no_failed_build(build: Build, number: int, name: str) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, before="sleep 987126")
        while not left_behind("987126"):
            wait([running], timeout=0.05)
            assert not running.done()
        os.kill(main_process(), number)
        with pytest.raises(BuildrootError, match=f"mock was stopped by {name}"):
            running.result()
    wait_for_the_end_of("987126")


def test_a_mock_that_is_killed_is_told_as_that_and_leaves_nothing(build: Build) -> None:
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(build, before="sleep 987127")
        while not left_behind("987127"):
            wait([running], timeout=0.05)
            assert not running.done()
        os.kill(main_process(), signal.SIGKILL)
        with pytest.raises(BuildKilledError, match="the build was killed"):
            running.result()
    wait_for_the_end_of("987127")


def main_process() -> int:
    """The mock that this process runs: below unshare and the shell that lists the root's packages afterwards."""
    parents = {}
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text(errors="replace").rpartition(")")[2].split()
        except OSError:
            continue
        parents[int(path.parent.name)] = int(fields[1])
    (found,) = (pid for pid, parent in parents.items() if parents.get(parents.get(parent, 0)) == os.getpid())
    return found


def test_two_builds_at_once_do_not_meet(store: Store, buildroot: Buildroot, tmp_path: Path) -> None:
    spec = building.spec(tmp_path / "sources")
    with ThreadPoolExecutor(2) as pool:
        one = partial(building.build, mock_builder(store), spec, buildroot)
        results = list(pool.map(one, [tmp_path / str(n) for n in range(2)]))
    assert building.digests(results[0]) == building.digests(results[1])


def test_a_build_too_big_for_its_memory_goes_on_the_disk(store: Store, buildroot: Buildroot, tmp_path: Path) -> None:
    spec = building.spec(tmp_path / "sources", before="head -c 400000000 /dev/zero > big")
    builder = mock_builder(store, memory=600 << 20)
    with pytest.raises(DiskFullError, match="hello@lab9: no space left on device"):
        builder._build(building.request_for(spec, buildroot, tmp_path / "once"), 600 << 20)
    assert building.digests(building.build(builder, spec, buildroot, tmp_path / "twice"))


def test_memory_too_small_for_the_root_itself_is_a_full_disk(
    store: Store, buildroot: Buildroot, tmp_path: Path
) -> None:
    spec = building.spec(tmp_path / "sources")
    with pytest.raises(DiskFullError, match="no space left on device"):
        mock_builder(store)._build(building.request_for(spec, buildroot, tmp_path / "once"), 64 << 20)


def test_a_repository_that_is_gone_is_told_as_that(store: Store, distro: LabDistro, tmp_path: Path) -> None:
    repository = tmp_path / "repository"
    make_rpms(repository, [("tool", "0", "1", "1")])
    run(["createrepo_c", "-q", repository], timeout=60)
    with served(repository) as url:
        builder = mock_builder(store)
        remote = RepositoryRef(id="remote", baseurl=url, gpgcheck=False)
        root = builder.prepare(replace(mock_chroot(distro, remote), name="gone-x86_64"))
    spec = building.spec(tmp_path / "sources", requires="BuildRequires: tool")
    with pytest.raises(RepositoryError, match="packages of the buildroot's repositories cannot be had"):
        building.build(builder, spec, root, tmp_path / "build")


def test_a_base_package_that_no_repository_has_is_named(store: Store, distro: LabDistro) -> None:
    with pytest.raises(BuildrootError, match=r"cannot be made: .*nosuch-package"):
        mock_builder(store).prepare(mock_chroot(distro, packages=("bash", "nosuch-package")))


def test_who_is_not_root_is_told_so_and_nothing_is_begun() -> None:
    program = "from builder.build.mock import require_mock; require_mock()"
    argv = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", sys.executable, "-c", program]
    done = run(argv, cwd=Path(builder.__file__).parents[1], timeout=60, ok=(1,))
    assert "the mock builder needs root: each build has namespaces of its own" in done.stderr


def test_auto_is_mock(store: Store) -> None:
    assert isinstance(open_builder("auto", store, configuration), MockBuilder)


def wait_for_the_end_of(word: str) -> None:
    deadline = time.monotonic() + 60  # the kernel ends a pid namespace in its own time
    while left_behind(word) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert left_behind(word) == []


def left_behind(word: str) -> list[bytes]:
    """Command lines of running processes with that word."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes()
        except OSError:
            continue
        if word.encode() in line and b"mock" not in line and b"pytest" not in line:
            found.append(line)
    return found
