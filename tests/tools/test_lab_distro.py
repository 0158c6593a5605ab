"""The lab distribution with real tools: it installs, its dnf and rpm work, each kernel-devel builds modules."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.lab.client import Client, make_client
from tests.lab.distro import CUDA, LabDistro, make_distro
from tests.need import need, need_root

_HELLO = """
#include <linux/module.h>
static int __init hello_init(void) { return 0; }
static void __exit hello_exit(void) { }
module_init(hello_init);
module_exit(hello_exit);
MODULE_LICENSE("GPL");
"""


@pytest.fixture(scope="module")
def distro() -> LabDistro:
    need("apt-get", "dpkg-deb", "rpmbuild", "createrepo_c", "dnf", "unshare")
    need_root()
    return make_distro()


@pytest.fixture(scope="module")
def client(distro: LabDistro, tmp_path_factory: pytest.TempPathFactory) -> Client:
    base = tmp_path_factory.mktemp("lab")
    (base / "none").mkdir()
    kernels = [f"{p.name}-{p.evr}" for k in distro.kernels for p in (k.core, k.devel)]
    made = make_client(base / "root", distro, base / "none", [*kernels, "cuda"])
    hello = made.root / "root/hello"
    hello.mkdir()
    (hello / "hello.c").write_text(_HELLO)
    (hello / "Kbuild").write_text("obj-m := hello.o\n")
    return made


def test_there_are_two_generic_kernels_and_a_cloud_one(distro: LabDistro) -> None:
    assert [k.variant for k in distro.kernels] == ["generic", "generic", "cloud"]
    assert len({k.release for k in distro.kernels}) == 3


def test_a_second_call_makes_nothing_new(distro: LabDistro) -> None:
    before = (distro.repository / "repodata/repomd.xml").stat().st_ino
    assert make_distro.__wrapped__() == distro
    assert (distro.repository / "repodata/repomd.xml").stat().st_ino == before


def test_dnf_inside_lists_the_repository_and_finds_no_broken_dependency(client: Client) -> None:
    assert "lab" in client.run("dnf", "-q", "repolist").stdout
    client.run("dnf", "-q", "module", "list")
    client.run("dnf", "-q", "check")


def test_rpm_inside_knows_the_release_and_the_arch(client: Client) -> None:
    assert client.query("--whatprovides", "system-release")[0].startswith("filesystem-9-")
    assert client.query("--qf", "%{ARCH}\\n", "bash") == ["x86_64"]
    assert client.run("rpm", "-E", "%dist").stdout.strip() == ".lab9"


def test_every_installed_kernel_is_indexed_and_both_generic_ones_stay(client: Client) -> None:
    generic = [f"{k.core.name}-{k.core.evr}.x86_64" for k in client.distro.kernels if k.variant == "generic"]
    assert client.query("kernel-core") == sorted(generic)
    for kernel in client.distro.kernels:
        assert (client.root / "usr/lib/modules" / kernel.release / "modules.dep").is_file()


def test_libraries_in_lib64_are_found_once_a_package_brings_them(client: Client) -> None:
    """As on EL: the C library's package runs ldconfig after every transaction that brought one."""
    assert (client.root / "etc/ld.so.cache").is_file()
    assert "/usr/lib64" in (client.root / "etc/ld.so.conf.d/lib64.conf").read_text()


def test_cuda_is_there_without_a_driver(client: Client) -> None:
    assert client.query(CUDA, "cuda")[0].startswith("cuda-")
    assert client.query("-a", "*nvidia*") == []


@pytest.mark.parametrize("index", range(3), ids=["older", "newer", "cloud"])
def test_a_module_built_against_kernel_devel_is_that_kernels(client: Client, index: int) -> None:
    kernel = client.distro.kernels[index]
    for tree in (kernel.devel_path, f"/lib/modules/{kernel.release}/build"):
        client.run("make", "-C", tree, "M=/root/hello", "clean", "modules")
        magic = client.run("modinfo", "-F", "vermagic", "/root/hello/hello.ko").stdout
        assert magic.split()[0] == kernel.release


def test_removing_a_kernel_leaves_no_folder_behind(client: Client) -> None:
    kernel = client.distro.kernels[0]
    client.dnf("remove", f"{kernel.core.name}-{kernel.core.evr}")
    assert not Path(client.root, "usr/lib/modules", kernel.release).exists()
