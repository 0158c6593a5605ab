"""dkms-nvidia on a host of the lab: dnf brings it, dkms compiles, another stream sends it away.

One client is led through an admin's year; each test is a step of it and leaves the client to the next one.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import pytest

from builder.tools.run import run
from tests.conftest import Job, make_job
from tests.lab.client import Client, make_client
from tests.lab.distro import LabDistro
from tests.lab.kernels import LabKernel
from tests.lab.light import make_light
from tests.lab.matrix import stream

OWN, STUBBORN, MISLED = "6.1.99-admin", "6.1.99-stubborn", "6.1.99-misled"
SIGNER = "machine key of this host"
MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
STREAMS = (
    stream("r550-open", "550", "open", default=True),
    stream("r535-dkms", "535", "proprietary", kmods="dkms"),
    stream("r535-open-dkms", "535", "open", kmods="dkms"),
    stream("r570-open-dkms", "570", "open", kmods="dkms"),
)
NO_SUPPORT = {"570.211.01": "defined(CONFIG_NOT_FOR_NVIDIA)"}


@dataclass(frozen=True)
class Host:
    """The client, its first kernel and the one that comes and goes."""

    client: Client
    first: LabKernel
    later: LabKernel

    def path(self, inside: str) -> Path:
        return self.client.root / inside.lstrip("/")

    def has_module(self, release: str, version: str, license_: str) -> None:
        module = self.client.module(release)
        assert module is not None, f"kernel {release} has no module"
        assert (module.version, module.vermagic, module.license) == (version, release, license_)

    def built_for(self) -> set[str]:
        return {path.parts[-3] for path in self.path("/var/lib/dkms/nvidia").glob("*/*/*/module")}


def kernel_packages(kernel: LabKernel) -> list[str]:
    return [f"{p.name}-{p.evr}" for p in (kernel.core, kernel.devel)]


@pytest.fixture(scope="module")
def published(
    tmp_path_factory: pytest.TempPathFactory, lab: LabDistro, keys: Path, generic: list[str], whole: Job
) -> Job:
    """A precompiled stream for both kernels and three of DKMS; 570 compiles on no kernel that is configured so."""
    drivers = make_light(["535.261.03", "550.163.01", "570.211.01"], broken=NO_SUPPORT)
    folder = tmp_path_factory.mktemp("dkms")
    job = make_job(folder, lab, drivers, keys, streams=STREAMS, kernels=generic, like=whole)
    job.run("matrix")
    return job


@pytest.fixture(scope="module")
def host(published: Job, lab: LabDistro, tmp_path_factory: pytest.TempPathFactory) -> Host:
    """One kernel of the distribution and one of the admin's own, and a key for their modules."""
    first, later = [k for k in lab.kernels if k.variant == "generic"]
    root = tmp_path_factory.mktemp("client") / "root"
    client = make_client(root, lab, published.repo, [*kernel_packages(first), "openssl"])
    client.use_published()
    client.make_own_kernel(first.release, OWN)
    folder = root / "etc/dkms/framework.conf.d"
    folder.mkdir(parents=True)
    key, certificate = "/etc/pki/machine.key", "/etc/pki/machine.der"
    (folder / "machine.conf").write_text(f"mok_signing_key={key}\nmok_certificate={certificate}\n")
    request = ["-new", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", f"/CN={SIGNER}", "-outform", "DER"]
    client.run("openssl", "req", *request, "-keyout", key, "-out", certificate)
    return Host(client=client, first=first, later=later)


def test_a_dkms_stream_compiles_for_the_distributions_kernel_and_for_the_admins_own(host: Host) -> None:
    done = host.client.dnf("module", "install", "nvidia-driver:r535-dkms")
    for release in (host.first.release, OWN):
        host.has_module(release, "535.261.03", "Proprietary")
        assert f"building NVIDIA 535.261.03 (proprietary) for kernel {release}" in done.stdout + done.stderr
        for name in MODULES:
            host.client.run("modprobe", "--show-depends", "-S", release, name)
    assert host.built_for() == {host.first.release, OWN}
    assert list(host.path("/var/log/dkms-nvidia").iterdir()) == []


def test_modules_are_signed_with_the_machines_key(host: Host) -> None:
    for release in (host.first.release, OWN):
        for name in MODULES:
            assert host.client.module_field(release, "signer", name) == SIGNER


def test_a_kernel_that_comes_with_its_build_tree_gets_its_module_in_the_same_transaction(host: Host) -> None:
    host.client.dnf("install", *kernel_packages(host.later))
    host.has_module(host.later.release, "535.261.03", "Proprietary")
    assert host.client.module_field(host.later.release, "signer") == SIGNER


def test_nothing_of_a_removed_kernel_stays(host: Host) -> None:
    host.client.dnf("remove", *kernel_packages(host.later))
    assert not host.path(f"/usr/lib/modules/{host.later.release}").exists()
    assert host.built_for() == {host.first.release, OWN}
    host.has_module(host.first.release, "535.261.03", "Proprietary")


def test_a_kernel_without_its_build_tree_is_named_and_served_when_the_tree_comes(host: Host) -> None:
    core, devel = kernel_packages(host.later)
    done = host.client.dnf("install", core)
    said = done.stdout + done.stderr
    assert f"NO MODULE for kernel {host.later.release}: its build tree is not installed" in said
    assert host.client.module(host.later.release) is None
    host.client.dnf("install", devel)
    host.has_module(host.later.release, "535.261.03", "Proprietary")


def test_the_flavor_is_changed_under_one_version(host: Host) -> None:
    host.client.dnf("module", "switch-to", "nvidia-driver:r535-open-dkms")
    for release in (host.first.release, host.later.release, OWN):
        host.has_module(release, "535.261.03", "Dual MIT/GPL")
    assert len(host.client.query("-a", "dkms-nvidia")) == 1


def test_a_driver_that_does_not_compile_is_loud_and_stops_neither_dnf_nor_the_other_kernels(host: Host) -> None:
    host.client.make_own_kernel(host.first.release, STUBBORN, "#define CONFIG_NOT_FOR_NVIDIA 1")
    done = host.client.dnf("module", "switch-to", "nvidia-driver:r570-open-dkms")
    said = done.stdout + done.stderr
    log = f"/var/log/dkms-nvidia/{STUBBORN}.log"
    for expected in (
        f"NO MODULE for kernel {STUBBORN}: NVIDIA 570.211.01 (open) could not be built for it",
        "no support for such a kernel in this stand-in",
        f"log:     {log}",
        "way out: boot another kernel",
        "/usr/libexec/dkms-nvidia build 570.211.01",
    ):
        assert expected in said, said
    assert "no support for such a kernel in this stand-in" in host.path(log).read_text(errors="replace")
    assert host.client.module(STUBBORN) is None
    for release in (host.first.release, host.later.release, OWN):
        host.has_module(release, "570.211.01", "Dual MIT/GPL")
    assert [p.name for p in host.path("/usr/src").glob("nvidia-*")] == ["nvidia-570.211.01"]


def test_modules_made_with_another_kernels_build_tree_are_not_left_in_place(host: Host) -> None:
    run(["cp", "-a", host.path(f"/usr/lib/modules/{OWN}"), host.path(f"/usr/lib/modules/{MISLED}")], timeout=60)
    run(["rm", "-rf", host.path(f"/usr/lib/modules/{MISLED}/extra")], timeout=60)
    host.client.run("depmod", "-a", MISLED)
    done = host.client.run("/usr/libexec/dkms-nvidia", "build", "570.211.01", ok=(1,))
    assert f"the modules made are for kernel '{OWN}'" in done.stderr
    assert host.client.module(MISLED) is None


def test_a_mended_kernel_is_served_by_the_command_that_was_told(host: Host) -> None:
    run(["rm", "-rf", host.path(f"/usr/lib/modules/{MISLED}")], timeout=60)
    header = host.path(f"/usr/src/kernels/{STUBBORN}/include/generated/autoconf.h")
    header.write_text(header.read_text().replace("#define CONFIG_NOT_FOR_NVIDIA 1", ""))
    host.client.run("/usr/libexec/dkms-nvidia", "build", "570.211.01")
    host.has_module(STUBBORN, "570.211.01", "Dual MIT/GPL")
    assert not host.path(f"/var/log/dkms-nvidia/{STUBBORN}.log").exists()


def test_a_precompiled_stream_leaves_no_trace_of_dkms(host: Host) -> None:
    host.client.dnf("module", "switch-to", "nvidia-driver:r550-open")
    for place in ("/var/lib/dkms/nvidia", "/var/log/dkms-nvidia", "/usr/libexec/dkms-nvidia"):
        assert not host.path(place).exists()
    assert list(host.path("/usr/src").glob("nvidia-*")) == []
    assert host.client.query("-a", "dkms-nvidia") == []
    precompiled = {host.first.release, host.later.release}
    for release in precompiled:
        host.has_module(release, "550.163.01", "Dual MIT/GPL")
    assert {name.partition("/")[0] for name in host.client.module_files()} == precompiled
    owners = host.client.query("-f", *(f"/lib/modules/{name}" for name in host.client.module_files()))
    assert all(owner.startswith("kmod-nvidia-") for owner in owners), owners
    for release in (OWN, STUBBORN):
        assert not host.path(f"/usr/lib/modules/{release}/extra").exists()
    for index in host.path("/usr/lib/modules").glob("*/modules.dep"):
        listed = set(re.findall(r"\S*nvidia\S*\.ko\S*", index.read_text().replace(":", " ")))
        assert listed == {str(p.relative_to(index.parent)) for p in index.parent.rglob("nvidia*.ko*")}


def test_what_only_dkms_needed_leaves_with_autoremove(host: Host) -> None:
    host.client.dnf("autoremove")
    assert host.client.query("-a", "dkms") == []
    assert host.client.module(host.first.release) is not None


def test_from_precompiled_to_dkms_no_module_is_put_aside(host: Host) -> None:
    host.client.dnf("module", "switch-to", "nvidia-driver:r535-open-dkms")
    for release in (host.first.release, host.later.release, OWN):
        host.has_module(release, "535.261.03", "Dual MIT/GPL")
    assert not host.path("/var/lib/dkms/nvidia/original_module").exists()
