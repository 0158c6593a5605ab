"""The plugin of dnf5, compiled from its spec for a real libdnf5 and loaded by the real dnf5 of that release."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.cells import Artifact, PackageKind
from builder.model.gate import GateKernel
from builder.model.matrix import Dnf, Flavor, Kernel
from builder.qualify import qualify_packages
from builder.render import render_dnf_plugin, render_gate
from builder.tools.run import Completed, run
from tests.golden import sample
from tests.lab.dnf5 import make_libdnf5_devel
from tests.need import need
from tests.once import session_top
from tests.tools.branch_repos import Host
from tests.tools.rpm_building import build, lines
from tests.tools.stream_repository import OTHER_KERNEL, stub

PLUGIN = PackageKind.LIBDNF5_PLUGIN.value
DNF5 = sample.distribution(dnf=(Dnf.DNF5,))
K600 = sample.kernel("5.14.0-600.1.1.el9_7.x86_64", "5.14.0-600.1.1.el9_7")
KERNELS = (sample.K427, sample.K503, sample.K570, K600)
HELD = (
    "nvidia: kernel-core-{kernel}.x86_64 is held back: driver 535.261.03 has no module for it yet"
    " (nvidia-kmod-common-3:535.261.03-{serial}.el9.x86_64)"
)
OFF = "--disable-plugin=nvidia"


class Site:
    """Stubs, the real plugin and the real gate: a repository, and what it is once one more kernel has its module."""

    def __init__(self, top: Path, compiler: dict[str, str]) -> None:
        self.top = top
        self.repo, self.later = top / "repo", top / "later"
        self.repo.mkdir()
        unit = sample.unit(PackageKind.LIBDNF5_PLUGIN, dist=DNF5)
        self.built = build(render_dnf_plugin(unit, sample.MATRIX), top, env=compiler)
        (plugin,) = self.keep(self.built)
        self.plugin = plugin
        for kernel in KERNELS:
            evr = str(kernel.core.evr)
            self.keep([stub("kernel-core", evr, ["installonlypkg(kernel)"], [], top)])
            modules = [f"kernel-core = {evr}"]
            self.keep([stub("kernel-modules", evr, ["installonlypkg(kernel)"], modules, top)])
        self.keep([stub(OTHER_KERNEL, str(sample.K503.core.evr), ["installonlypkg(kernel)"], [], top)])
        for evr in ("1-1", "2-1"):
            self.keep([stub("tool", evr, [], [], top)])
        self.keep([stub("nvidia-firmware", "1-1", ["nvidia-firmware = 3:535.261.03"], [], top)])
        libraries = [line for line in lines(plugin.path, "--requires") if not line.startswith("rpmlib(")]
        self.keep([stub("libdnf5", "5-1", libraries, [], top)])
        self.make_gate(1, sample.K427, sample.K503)
        self.later.mkdir()
        for rpm in self.repo.iterdir():
            (self.later / rpm.name).hardlink_to(rpm)
        self.write(self.repo)
        self.repo, here = self.later, self.repo
        self.make_gate(2, sample.K427, sample.K503, sample.K570)
        self.write(self.later)
        self.repo = here

    def keep(self, rpms: list[Artifact]) -> list[Artifact]:
        return [replace(rpm, path=rpm.path.rename(self.repo / rpm.path.name)) for rpm in rpms]

    def make_gate(self, serial: int, *supported: Kernel) -> None:
        """The gate as it is once these kernels have modules, and their modules."""
        gates: list[GateKernel] = []
        for known in sample.gate_kernels(*supported, flavor=Flavor.PROPRIETARY, kernels=KERNELS):
            gates.append(known)
            if known.kmod is not None and not list(self.repo.glob(f"{known.kmod.name}-*.rpm")):
                evr = f"{known.kmod.evr.version}-{known.kmod.evr.release}"
                provided = [f"{known.kmod.name} = {known.kmod.evr}"]
                needed = [f"{known.kernel.core.name} = {known.kernel.core.evr}"]
                self.keep([stub(known.kmod.name, evr, provided, needed, self.top)])
        spec = render_gate(sample.gate(flavor=Flavor.PROPRIETARY, dist=DNF5), gates, serial, sample.MATRIX)
        self.keep(build(spec, self.top))

    @staticmethod
    def write(repo: Path) -> None:
        run(["createrepo_c", "-q", "--compress-type", "gz", repo], timeout=120)


Make = Callable[..., Host]


@pytest.fixture(scope="module")
def compiler(dnf5_root: Path) -> dict[str, str]:
    need("g++")
    return make_libdnf5_devel(dnf5_root)


@pytest.fixture(scope="module")
def site(compiler: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Site:
    need("rpmbuild", "createrepo_c")
    return Site(tmp_path_factory.mktemp("libdnf5-plugin"), compiler)


@pytest.fixture
def make(site: Site, dnf5_root: Path, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Make]:
    """Makes a host with two kernels, libdnf5 and the gate: its plugin comes along, and dnf5 loads it from there."""
    hosts: list[Host] = []

    def made(*, best: bool = True) -> Host:
        host = Host(tmp_path / f"host-{len(hosts)}", session_top(tmp_path_factory), dnf5_root)
        hosts.append(host)
        plugins = host.root / "usr/lib64/libdnf5/plugins"
        configured = host.root / "etc/dnf/libdnf5-plugins"
        host.configure(site.repo, best=best, plugins=1, pluginpath=plugins, pluginconfpath=configured)
        kernels = [f"{name}-{k.core.evr}" for k in KERNELS[:2] for name in ("kernel-core", "kernel-modules")]
        host.run("dnf", "-y", "install", "libdnf5", "tool-1-1", *kernels)
        host.run("dnf", "-y", "install", "nvidia-kmod-common-3:535.261.03-1.el9")
        assert PLUGIN in host.installed()
        return host

    yield made
    for host in hosts:
        host.close()


def upgrade(host: Host, *options: str, ok: tuple[int, ...] = (0,)) -> Completed:
    return host.run("dnf", "-y", "upgrade", *options, ok=ok)


def publish_later(host: Host, site: Site) -> None:
    configured = host.root / "etc/yum.repos.d/base.repo"
    configured.write_text(configured.read_text().replace(site.repo.as_uri(), site.later.as_uri()))


def evrs(*kernels: Kernel) -> list[str]:
    return sorted(str(k.core.evr) for k in kernels)


def test_the_package_is_as_designed_and_goes_with_the_libdnf5_that_it_was_compiled_for(site: Site) -> None:
    """rpm itself keeps a plugin away from another libdnf5, as dnf5 ends where it cannot load one."""
    assert "libdnf5.so.2()(64bit)" in lines(site.plugin.path, "--requires")
    assert not [line for line in lines(site.plugin.path, "--requires") if line.startswith("libfmt")]
    assert not [line for line in lines(site.plugin.path, "--provides") if ".so" in line]
    verdict = qualify_packages(sample.unit(PackageKind.LIBDNF5_PLUGIN, dist=DNF5), [site.plugin], sample.MATRIX)
    assert verdict.ok, verdict.reason


@pytest.mark.parametrize("best", [True, False])
def test_kernels_without_a_module_are_held_back_each_with_its_line_and_the_rest_is_upgraded(
    best: bool, make: Make
) -> None:
    host = make(best=best)
    if best:
        assert "nvidia-kmod-common" in upgrade(host, OFF, ok=(1,)).stderr
    done = upgrade(host)
    for kernel in (sample.K570, K600):
        assert HELD.format(kernel=kernel.core.evr, serial=1) in done.stderr.splitlines()
    assert done.stderr.count("held back") == 2
    assert host.kernels() == evrs(sample.K427, sample.K503)
    assert host.run("rpm", "-q", "kernel-modules").stdout.count("kernel-modules") == 2
    assert host.installed()["tool"] == "2-1"
    # A kernel of another name and the same version is kept out too; it takes nothing of this one's along.
    host.run("dnf", "-y", "reinstall", f"kernel-modules-{sample.K503.core.evr}")
    assert host.run("dnf", "-y", "install", OTHER_KERNEL, ok=(1,)).returncode == 1


def test_a_kernel_that_got_its_module_comes_and_the_next_one_is_held(site: Site, make: Make) -> None:
    host = make()
    publish_later(host, site)
    done = upgrade(host)
    assert host.kernels() == evrs(sample.K427, sample.K503, sample.K570)
    assert host.installed()[f"kmod-nvidia-{sample.K570.label}"] == "535.261.03-1.el9"
    assert [line for line in done.stderr.splitlines() if line.startswith("nvidia:")] == [
        HELD.format(kernel=K600.core.evr, serial=2)
    ]
    asked = host.run("dnf", "repoquery", "kernel-core", "--qf", "%{evr}\\n")
    assert "nvidia:" not in asked.stdout, "what programs read has no line of ours in it"
    wanted = f"kernel-core-{K600.core.evr}"
    assert (
        f"Argument '{wanted}' matches only excluded packages"
        in host.run("dnf", "-y", "install", wanted, ok=(1,)).stderr
    )
    assert "nvidia-kmod-common" in host.run("dnf", OFF, "-y", "install", wanted, ok=(1,)).stderr


def test_a_kernel_that_was_let_in_past_dnf_is_named_each_time(site: Site, make: Make) -> None:
    host = make()
    (rpm,) = site.repo.glob(f"kernel-core-{K600.core.evr}*.rpm")
    host.run("rpm", "-i", "--nodeps", "--noscripts", str(rpm))
    for _ in range(2):
        said = upgrade(host).stderr
        assert f"nvidia: kernel-core-{K600.core.evr}.x86_64 is installed, but driver 535.261.03 has no module" in said
    publish_later(host, site)  # another kernel got its module, this one did not: its gate waits
    assert f"conflicts with kernel-core > {sample.K570.core.evr}" in upgrade(host, ok=(1,)).stderr
    upgrade(host, "--no-best")
    assert host.installed()["nvidia-kmod-common"] == "535.261.03-1.el9"


@pytest.mark.parametrize("harm", ["gone", "no library", "another libdnf5"])
def test_a_plugin_that_is_broken_is_told_and_stops_nothing(harm: str, make: Make, tmp_path: Path) -> None:
    """The Conflicts go on keeping the kernels out."""
    host = make(best=False)
    work = host.root / "usr/lib64/libdnf5/plugins/nvidia/hold.so"
    if harm == "gone":
        work.unlink()
    elif harm == "no library":
        work.write_bytes(b"not an ELF file")
    else:
        source = tmp_path / "hold.c"
        source.write_text("void gone_from_libdnf5(void);\nvoid nvidia_hold(void) { gone_from_libdnf5(); }\n")
        work.unlink()
        run(["gcc", "-shared", "-fPIC", "-o", work, source], timeout=60)
    done = upgrade(host)
    (said,) = (line for line in done.stderr.splitlines() if line.startswith("nvidia:"))
    assert said.startswith("nvidia: kernels are not held back one by one: ")
    assert ("gone_from_libdnf5" if harm == "another libdnf5" else "hold.so") in said
    assert str(K600.core.evr) not in host.kernels()


def test_where_there_is_no_gate_and_where_it_is_switched_off_it_says_nothing(make: Make) -> None:
    host = make(best=False)
    assert "nvidia:" not in upgrade(host, OFF).stderr
    conf = host.root / "etc/dnf/libdnf5-plugins/nvidia.conf"
    conf.write_text(conf.read_text().replace("enabled = 1", "enabled = 0"))
    assert "nvidia:" not in upgrade(host).stderr
    conf.write_text(conf.read_text().replace("enabled = 0", "enabled = 1"))
    host.run("rpm", "-e", "nvidia-kmod-common")
    assert "nvidia:" not in upgrade(host).stderr
    assert str(K600.core.evr) in host.kernels()
