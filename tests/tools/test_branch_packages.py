"""The stream in package names, as real dnf 4 sees it: install, upgrade, switch, hold, every signature checked.

yum 3 and rpm 4.11, which this is for, cannot be had here: what they do not know is looked for in each package.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from builder.errors import PublishError, ToolError, VerifyError
from builder.model.matrix import Kmods
from builder.publish import prove_transitions, publish, verify_publication
from builder.sign import Signer, new_key
from builder.tools.oldrpm import old_rpm_faults
from tests.golden import sample
from tests.need import need
from tests.tools.branch_packages import GAP, LABELS, STREAMS, BranchPackages
from tests.tools.branch_repos import Host
from tests.tools.publishing import TERMS
from tests.tools.stream_repository import Repository

WALK = ("r535-open", "latest", "latest-dkms", "r550-open", "r535", "latest")
OLD, NEW = (str(k.core.evr) for k in (sample.K427, sample.K503))


@pytest.fixture(scope="module")
def packages(streams: Repository, tmp_path_factory: pytest.TempPathFactory) -> BranchPackages:
    need("dnf", "rpmsign", "gpg", "gpg-connect-agent", "rpm2cpio", "cpio")
    top = tmp_path_factory.mktemp("branch-packages")
    new_key(top / "key", "branch packages")
    made = BranchPackages(top, Signer.open(top / "key"), streams)
    made.publish()
    return made


Make = Callable[..., Host]


@pytest.fixture
def make(packages: BranchPackages, tmp_path: Path) -> Iterator[Make]:
    """Makes a host that knows the published repository."""
    hosts: list[Host] = []

    def made(*kernels: str, best: bool = True) -> Host:
        host = Host(tmp_path / f"host-{len(hosts)}", tmp_path, script="nvidia-driver-stream-packages")
        hosts.append(host)
        host.prepare(packages.base, packages.signer, kernels or (OLD, NEW), best=best)
        shutil.copy(packages.repo / "el7.repo", host.root / "etc/yum.repos.d")
        return host

    yield made
    for host in hosts:
        host.close()


def main(stream: str) -> str:
    return f"nvidia-driver-{LABELS[stream]}"


def check(host: Host, stream: str) -> None:
    """The host has what the stream has and nothing of any other."""
    driver, _, kmods = STREAMS[stream]
    found = host.installed()
    assert {v.rpartition("-")[0] for v in found.values()} == {driver.version}, found
    assert [name for name in found if LABELS[stream] not in name] == [], found
    others = [label for label in LABELS.values() if label.startswith(f"{LABELS[stream]}-")]
    assert [name for name in found if any(label in name for label in others)] == [], found
    assert {main(stream), f"{main(stream)}-cuda-libs", f"kmod-nvidia-{LABELS[stream]}"} <= set(found)
    assert (f"nvidia-kmod-objects-{LABELS[stream]}" in found) is (kmods is Kmods.PRECOMPILED)
    assert host.run("nvidia-driver-stream").stdout == f"{LABELS[stream]}\n"


def test_rpm_4_11_knows_everything_that_the_packages_say(packages: BranchPackages, streams: Repository) -> None:
    rpms = [a.path for artifacts in packages.streams.values() for a in artifacts]
    assert list(old_rpm_faults(rpms)) == []
    # Those of the other deliveries are what it would not take: that is why there are packages of their own.
    modular = [a.path for a in streams.streams["r535-open"] + streams.streams["r535-open-dkms"]]
    said = " ".join(fault for _, fault in old_rpm_faults(modular))
    for word in ("RichDependencies", "the boolean dependency", "Recommends", "Suggests", "a file trigger on"):
        assert word in said


def test_metadata_are_as_yum_3_reads_them(packages: BranchPackages) -> None:
    repodata = packages.repo / "el7/x86_64/repodata"
    kinds = {path.name.partition("-")[2] for path in repodata.iterdir() if "-" in path.name}
    assert kinds == {"primary.xml.gz", "filelists.xml.gz", "other.xml.gz"}
    text = (repodata / "repomd.xml").read_text()
    assert text.count('<checksum type="sha256">') == 3
    assert "modules" not in text
    for path in repodata.glob("*.gz"):
        assert path.read_bytes()[:3] == b"\x1f\x8b\x08"


def test_one_name_brings_the_whole_driver_and_another_stream_beside_it_is_refused(make: Make) -> None:
    host = make()
    host.run("dnf", "-y", "install", main("latest"))
    check(host, "latest")
    done = host.run("dnf", "-y", "install", main("r535"), ok=(1,))
    assert "conflicts with nvidia-driver-stream" in done.stdout + done.stderr
    check(host, "latest")


def test_any_stream_is_switched_to_any_other_by_one_command_and_cuda_stays(make: Make) -> None:
    """Up, down, to the other flavor, to DKMS and back, by the script and by dnf alone."""
    host = make()
    host.run("dnf", "-y", "install", main("r535"), "cuda-toolkit")
    before, here = host.stamp(), "r535"
    for number, stream in enumerate(WALK):
        if number % 3 == 0:
            host.run("nvidia-driver-stream", stream, "-y")
        elif number % 3 == 1:
            host.run("dnf", "-y", "swap", main(here), main(stream))
        else:  # the package that all others of the stream require: yum removes them with it, dnf when it is told to
            host.run("dnf", "-y", "swap", "--allowerasing", f"{main(here)}-release", main(stream))
        check(host, stream)
        assert host.stamp() == before
        here = stream


def test_what_was_asked_for_beside_the_driver_goes_along(make: Make) -> None:
    """Fabric manager and 32-bit libraries by their namesakes; a host without display stays one."""
    host = make()
    extra = ("nvidia-fabricmanager-branch-535", "nvidia-driver-branch-535-libs.i686")
    host.run("dnf", "-y", "install", main("r535"), *extra)
    host.run("nvidia-driver-stream", "latest", "-y")
    check(host, "latest")
    arches = host.run("rpm", "-q", "--qf", "%{ARCH}\\n", "nvidia-driver-latest-libs").stdout.split()
    assert sorted(arches) == ["i686", "x86_64"]
    assert "nvidia-fabricmanager-latest" in host.installed()
    headless = make()
    headless.run("dnf", "-y", "install", "nvidia-driver-branch-535-cuda")
    headless.run("nvidia-driver-stream", "latest", "-y")
    found = headless.installed()
    assert "nvidia-driver-latest-cuda" in found
    assert not {name for name in found if name in (main("latest"), "nvidia-driver-latest-libs")}
    assert {v.rpartition("-")[0] for v in found.values()} == {"550.163.01"}


def test_libraries_alone_ask_for_no_kernel_module(make: Make) -> None:
    host = make()
    host.run("dnf", "-y", "install", "nvidia-driver-latest-cuda-libs")
    assert set(host.installed()) == {"nvidia-driver-latest-cuda-libs", "nvidia-driver-latest-release"}


def test_an_upgrade_stays_in_the_stream_and_latest_moves_across_branches(packages: BranchPackages, make: Make) -> None:
    first = packages.publish(before=True)
    try:
        follows, stays = make(OLD), make(OLD)
        follows.run("dnf", "-y", "install", main("latest"))
        stays.run("dnf", "-y", "install", main("r535"))
        assert {v.rpartition("-")[0] for v in follows.installed().values()} == {"535.261.03"}
    finally:
        second = packages.publish()
    assert prove_transitions(second.path, first.path).faults == ()
    for host in (follows, stays):
        # A kernel that has no module yet is there too; the one that has comes with the modules' new package.
        host.run("dnf", "-y", "--refresh", "upgrade", "--nobest", f"--exclude=kernel-core-{sample.K570.core.evr}")
    check(follows, "latest")
    check(stays, "r535")
    assert stays.installed()["kmod-nvidia-branch-535"] == "535.261.03-2.el7"
    assert stays.kernels() == sorted([OLD, NEW])


@pytest.mark.parametrize("evr", [str(sample.K570.core.evr), str(GAP.core.evr)], ids=["newer", "in a gap"])
def test_a_kernel_without_a_module_is_held_back(evr: str, make: Make) -> None:
    """best=1: refused, with the reason; best=0: skipped; in a DKMS stream it comes."""
    refusing, skipping = make(OLD), make(OLD, best=False)
    for host in (refusing, skipping):
        host.run("dnf", "-y", "install", main("latest"))
    done = refusing.run("dnf", "-y", "install", f"kernel-core-{evr}", ok=(1,))
    assert "kmod-nvidia-latest" in done.stdout + done.stderr
    refusing.run("dnf", "-y", "upgrade", f"kernel-core-{evr}", ok=(1,))
    skipping.run("dnf", "-y", "upgrade")
    for host in (refusing, skipping):
        assert evr not in host.kernels()
        check(host, "latest")
    assert skipping.kernels() == sorted([OLD, NEW])  # the newest that has its module
    skipping.run("nvidia-driver-stream", "latest-dkms", "-y")
    skipping.run("dnf", "-y", "install", f"kernel-core-{evr}")
    assert evr in skipping.kernels()


def test_a_stream_that_does_not_exist_leaves_the_host_as_it_is(make: Make) -> None:
    host = make()
    host.run("dnf", "-y", "install", main("r535"))
    host.run("nvidia-driver-stream", "r999", "-y", ok=(1,))
    assert "usage" in host.run("nvidia-driver-stream", "../latest", ok=(2,)).stderr
    host.run("nvidia-driver-stream", "r535", "-y")
    check(host, "r535")


def test_everything_leaves_with_one_package(make: Make) -> None:
    host = make()
    host.run("dnf", "-y", "install", main("latest"))
    host.run("dnf", "-y", "remove", f"{main('latest')}-release")
    assert host.installed() == {}


def test_verify_finds_it_whole_and_names_what_rpm_4_11_would_not_take(
    packages: BranchPackages, streams: Repository, tmp_path: Path
) -> None:
    (tmp_path / "look").mkdir()
    path = (packages.repo / "el7/x86_64").resolve()
    report = verify_publication(str(path), packages.signer.public_key(), tmp_path / "look")
    assert report.streams == len(STREAMS)
    bad = tmp_path / "bad"
    shutil.copytree(path, bad)
    record = bad / "publication.json"
    record.write_text(record.read_text().replace("kmod-nvidia-latest-3:550", "kmod-nvidia-lost-3:550"))
    (tmp_path / "again").mkdir()
    with pytest.raises(VerifyError) as caught:
        verify_publication(str(bad), packages.signer.public_key(), tmp_path / "again")
    assert any("artifact kmod-nvidia-lost-3:550" in fault for fault in caught.value.details)
    assert any("in no stream" in fault for fault in caught.value.details)
    with pytest.raises(ToolError):
        list(old_rpm_faults([record]))


def test_the_gate_proves_every_switch_between_streams(packages: BranchPackages) -> None:
    path = (packages.repo / "el7/x86_64").resolve()
    proof = prove_transitions(path, path)
    assert proof.faults == ()
    assert proof.transitions > len(STREAMS) * (len(STREAMS) - 1) * 3 * 2


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("kmod-nvidia-branch-535-open", "kmod-nvidia-branch-535-open"),
        ("nvidia-kmod-objects-branch-535-open", "nvidia-kmod-object("),
        ("nvidia-driver-branch-535-open-libs", "nvidia-driver-branch-535-open-libs"),
        ("nvidia-kmod-common-branch-535-open", "nvidia-kmod-common-branch-535-open"),
    ],
)
def test_the_gate_names_a_stream_that_is_half(
    missing: str, said: str, packages: BranchPackages, tmp_path: Path
) -> None:
    made = packages.publish(repo=tmp_path / "half", without=[missing])
    faults = prove_transitions(made.path, None).faults
    assert faults
    assert all("r535-open" in fault.partition(" on ")[0] for fault in faults), faults
    assert any(said in fault for fault in faults), faults


def test_a_driver_that_nothing_says_the_stream_of_is_refused(packages: BranchPackages, tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="stream r535: not exactly one nvidia-driver-branch-535-release a driver"):
        packages.publish(repo=tmp_path / "none", without=["nvidia-driver-branch-535-release"])


def test_a_stream_with_another_ones_packages_is_refused(packages: BranchPackages, tmp_path: Path) -> None:
    (foreign,) = [a for a in packages.streams["r535-open"] if a.nevra.name == "nvidia-modprobe-branch-535-open"]
    content = packages.content({"r535": [*packages.streams["r535"], foreign]})
    with pytest.raises(PublishError, match="stream r535: nvidia-modprobe-branch-535-open does not have the stream in"):
        publish(
            content, tmp_path / "x", public_key=packages.signer.public_key(), sign=lambda _: b"", epoch=1, terms=TERMS
        )
