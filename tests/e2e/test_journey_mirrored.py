"""The journey of test_journey.py where there are no modules: as trees (dnf 4 and dnf5) and as package names (dnf 4).

The hosts of a delivery take each step together, one publication after the other.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.e2e import journey_hosts as of
from tests.e2e.journey_hosts import NameHost, StreamHost, TreeHost
from tests.e2e.journey_site import BYSTANDER, DRIVERS, FIRST_DRIVERS, Publisher, bystander, make_host, said
from tests.lab.archive import LabUnavailableError
from tests.lab.distro import LabDistro
from tests.lab.dnf5 import make_dnf5, put_dnf5
from tests.lab.kernels import LabKernel


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A publisher and the hosts that follow it, each with dnf of its own."""

    delivery: str
    publisher: Publisher
    hosts: Sequence[StreamHost]
    kernels: Sequence[LabKernel]


@pytest.fixture(scope="module")
def dnf5(lab: LabDistro) -> Path | None:
    try:
        return make_dnf5()
    except LabUnavailableError:
        return None


@pytest.fixture(scope="module", params=["branch-repos", "branch-packages"])
def site(
    request: pytest.FixtureRequest,
    lab: LabDistro,
    distro: LabDistro,
    kernels: list[LabKernel],
    built: Publisher,
    keys: Path,
    dnf5: Path | None,
    tmp_path_factory: pytest.TempPathFactory,
) -> Site:
    """With its first publication: two kernels, three branches."""
    folder = tmp_path_factory.mktemp(request.param)
    publisher = Publisher(folder / "job", distro, keys, like=built, delivery=request.param)
    streams = publisher.publish(kernels[:2], FIRST_DRIVERS)
    assert {name: carried[-1] for name, carried in streams.items()} == of.FIRST
    kind: type[StreamHost] = TreeHost if request.param == "branch-repos" else NameHost
    hosts = [make_host(folder / "dnf4", lab, distro, publisher.job, kernels[:2], kind)]
    if dnf5 is not None and kind is TreeHost:
        hosts.append(make_host(folder / "dnf5", lab, distro, publisher.job, kernels[:2], kind))
        put_dnf5(dnf5, hosts[-1].client.root)
    tools = bystander(folder, "1")
    for host in hosts:
        host.trust()
        host.offer(tools)
        host.dnf("install", BYSTANDER)
    return Site(delivery=request.param, publisher=publisher, hosts=hosts, kernels=kernels)


def conflict(last: LabKernel, newer: LabKernel) -> str:
    """What dnf says of a kernel that is newer than the last one with a module."""
    return f"conflicts with kernel-core > {last.core.evr} provided by kernel-core-{newer.core.evr}"


def test_dnf5_walks_along_where_streams_are_trees(site: Site, dnf5: Path | None) -> None:
    if dnf5 is None:
        pytest.skip("no dnf5 in the host's archive: dnf 4 walks alone")
    versions = [host.shell("dnf --version") for host in site.hosts]
    assert [v.startswith("dnf5 version 5.") for v in versions] == [False, True][: len(versions)]
    assert len(versions) == (2 if site.delivery == "branch-repos" else 1)


def test_the_driver_of_an_old_branch_comes_with_the_modules_of_both_kernels(site: Site) -> None:
    for host in site.hosts:
        host.install(of.START)
        host.check()


def test_cuda_changes_no_driver(site: Site) -> None:
    for host in site.hosts:
        host.dnf("install", "cuda")
        host.keep("cuda")
        host.check()


def test_a_kernel_without_a_module_is_kept_out_and_everything_else_is_updated(site: Site, tmp_path: Path) -> None:
    """best=1: the whole upgrade is refused, with the reason; best=0: all but the kernel."""
    tools = bystander(tmp_path, "2")
    for host in site.hosts:
        host.offer(*host.kernel_rpms(site.kernels[2]), tools)
        refused = host.dnf("upgrade", ok=(1,))
        assert conflict(site.kernels[1], site.kernels[2]) in said(refused)
        assert host.packages()[BYSTANDER] == ["1-1.lab9"]
        host.check()
        host.dnf("--setopt=best=0", "upgrade")
        assert host.packages()[BYSTANDER] == ["2-1.lab9"]
        host.check()


def test_up_to_latest(site: Site) -> None:
    for host in site.hosts:
        host.switch(of.LATEST)
        host.check()


def test_a_new_kernel_comes_with_its_module_and_the_oldest_leaves_with_its_own(site: Site) -> None:
    site.publisher.publish(site.kernels[:3], FIRST_DRIVERS)
    for host in site.hosts:
        host.dnf("--refresh", "--setopt=installonly_limit=2", "upgrade")
        host.kernels = [*site.kernels[1:3]]
        host.check()


def test_latest_moves_to_a_newer_driver_with_a_plain_upgrade(site: Site) -> None:
    site.publisher.publish(site.kernels[:3], DRIVERS)
    for host in site.hosts:
        host.dnf("--refresh", "upgrade")
        host.expected = of.NEWEST
        host.check()


def test_an_older_driver_of_the_stream_is_chosen_by_its_version(site: Site) -> None:
    for host in site.hosts:
        host.downgrade(of.LATEST.version)
        host.check()
        host.dnf("upgrade")
        host.expected = of.NEWEST
        host.check()


def test_modules_are_compiled_on_the_host_in_a_dkms_stream(site: Site) -> None:
    for host in site.hosts:
        host.dnf("install", *(f"kernel-devel-{k.devel.evr}" for k in host.kernels))
        host.switch(of.DKMS)
        host.check()


def test_from_dkms_down_to_precompiled_modules_of_an_older_branch(site: Site) -> None:
    for host in site.hosts:
        host.switch(of.OPEN_BRANCH)
        host.check()


def test_sideways_to_another_flavor(site: Site) -> None:
    for host in site.hosts:
        host.switch(of.BRANCH)
        host.check()


def test_a_kernel_published_before_its_module_waits_for_it(site: Site) -> None:
    for host in site.hosts:
        host.offer(*host.kernel_rpms(site.kernels[3])[:1])
        refused = host.dnf("upgrade", ok=(1,))
        assert conflict(site.kernels[2], site.kernels[3]) in said(refused)
        host.check()
        host.dnf("--setopt=best=0", "upgrade")
        host.check()


def test_its_module_comes_with_the_next_upgrade_and_the_oldest_kernel_leaves_with_its_own(site: Site) -> None:
    site.publisher.publish(site.kernels, DRIVERS)
    for host in site.hosts:
        host.dnf("--refresh", "--setopt=installonly_limit=2", "upgrade")
        host.kernels = [*site.kernels[2:]]
        host.check()


def test_down_to_an_older_branch_and_up_again(site: Site) -> None:
    for host in site.hosts:
        for stream in (of.OLDER, of.NEWEST):
            host.switch(stream)
            host.check()


def test_a_host_never_has_two_streams(site: Site) -> None:
    for host in site.hosts:
        host.ask_for_another("r535")
        host.check()


def test_what_a_host_with_nvswitch_needs_is_asked_for_besides(site: Site) -> None:
    for host in site.hosts:
        host.add_fabric_manager()
        host.check()


def test_removal_leaves_nothing_behind(site: Site) -> None:
    for host in site.hosts:
        host.remove()
        host.expected = None
        host.check()
