"""A metadata tree a stream, as real dnf sees it: install, upgrade, switch, hold, every signature checked."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import pytest

from builder.errors import MixedError, PublishError, VerifyError
from builder.model.matrix import Kmods
from builder.publish import prove_transitions, publish, verify_integrity, verify_publication
from builder.sign import Signer, new_key
from tests.golden import sample
from tests.need import need
from tests.once import session_top
from tests.tools.branch_repos import PROFILE, BranchRepos, Host
from tests.tools.listed import content_tree
from tests.tools.publishing import TERMS
from tests.tools.stream_repository import STREAMS, WITH_MODULES, Repository
from tests.tools.tampering import flip
from tests.tools.unshared import copy_generation

RELEASE = "nvidia-driver-release"
WALK = ("r535", "r550-open", "r535-open-dkms", "r550", "r550-dkms", "r535-open", "r535")
OURS = ("*nvidia*", "cuda-drivers")  # beside a kernel that has no module yet a bare upgrade is refused with best=1
KERNELS = [str(k.core.evr) for k in WITH_MODULES]


@pytest.fixture(scope="module")
def repos(streams: Repository, tmp_path_factory: pytest.TempPathFactory) -> BranchRepos:
    need("dnf", "rpmsign", "gpg", "gpg-connect-agent")
    top = tmp_path_factory.mktemp("branch-repos")
    new_key(top / "key", "branch repositories")
    made = BranchRepos(top, Signer.open(top / "key"), streams)
    made.publish()
    return made


@pytest.fixture(params=["dnf4", "dnf5"])
def tools(request: pytest.FixtureRequest) -> Path | None:
    """Whose dnf the hosts of a test have."""
    if request.param == "dnf4":
        return None
    path = request.getfixturevalue("dnf5_root")
    assert isinstance(path, Path)
    return path


Make = Callable[..., Host]


@pytest.fixture
def make(
    repos: BranchRepos, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, tools: Path | None
) -> Iterator[Make]:
    """Makes a host with two kernels that knows one published repository."""
    hosts: list[Host] = []

    def made(*, best: bool = True) -> Host:
        host = Host(tmp_path / f"host-{len(hosts)}", session_top(tmp_path_factory), tools)
        hosts.append(host)
        host.prepare(repos.base, repos.signer, KERNELS, best=best)
        return host

    yield made
    for host in hosts:
        host.close()


def use(host: Host, repo: Path, stream: str | None = None) -> None:
    """What an admin does first; ``stream`` None for the default."""
    place = repo / "el10/x86_64" / (f"streams/{stream}" if stream else "") / f"{RELEASE}.rpm"
    host.run("dnf", "-y", "install", str(place))


def check(host: Host, stream: str) -> None:
    """The host has what the stream has, for both kernels, and nothing of any other."""
    driver, flavor, kmods = STREAMS[stream]
    found = host.installed()
    tag = f"{driver.version}-1{flavor.release_tag}"
    assert {v.rpartition("-")[0] for v in found.values()} == {driver.version}, found
    expected = {f"{tag}.el9"} if kmods is Kmods.PRECOMPILED else set()
    assert {v for name, v in found.items() if name.startswith("kmod-nvidia")} == expected
    assert len([name for name in found if name.startswith("kmod-nvidia")]) == len(expected) * len(KERNELS)
    assert found.get("dkms-nvidia") == (f"{tag}.el9" if kmods is Kmods.DKMS else None)
    assert found[RELEASE] == f"{driver.version}-1.{stream.replace('-', '.')}.el10"
    assert host.run("nvidia-driver-stream").stdout == f"{stream}\n"


def test_the_default_comes_without_a_choice_and_another_stream_by_its_address(repos: BranchRepos, make: Make) -> None:
    host = make()
    use(host, repos.repo)
    assert host.run("nvidia-driver-stream").stdout == "latest\n"
    host.run("dnf", "-y", "install", *PROFILE)
    assert host.installed()["nvidia-kmod-common"] == "535.261.03-1.open.el9"
    other = make()
    use(other, repos.repo, "r550")
    other.run("dnf", "-y", "install", *PROFILE)
    check(other, "r550")


def test_any_stream_is_switched_to_any_other_by_one_command_and_cuda_stays(repos: BranchRepos, make: Make) -> None:
    """Up, down, to the other flavor, to DKMS and back; that the gate finds all 42 possible is tested elsewhere."""
    host = make()
    use(host, repos.repo, WALK[0])
    host.run("dnf", "-y", "install", *PROFILE, "cuda-toolkit")
    before = host.stamp()
    for stream in WALK[1:]:
        host.run("nvidia-driver-stream", stream, "-y")
        check(host, stream)
        assert host.stamp() == before


def test_an_upgrade_stays_in_the_stream(repos: BranchRepos, make: Make) -> None:
    host = make()
    use(host, repos.repo)
    branch = make()
    use(branch, repos.repo, "r535-open")
    for one in (host, branch):
        one.run("dnf", "-y", "install", *PROFILE)
    first = repos.publish()
    try:
        second = repos.publish("latest-next")
        assert second.changed
        assert prove_transitions(second.path, first.path).faults == ()
        for one in (host, branch):
            one.run("dnf", "-y", "--setopt=metadata_expire=0", "upgrade", *OURS)
    finally:
        repos.publish()
    assert {v.rpartition("-")[0] for v in host.installed().values()} == {"550.163.01"}
    assert host.run("nvidia-driver-stream").stdout == "latest\n"
    check(branch, "r535-open")
    host.run("nvidia-driver-stream", "latest", "-y")  # to what its stream has now, which is older again
    assert {v.rpartition("-")[0] for v in host.installed().values()} == {"535.261.03"}


def test_a_kernel_without_a_module_is_held_back(repos: BranchRepos, make: Make) -> None:
    """best=1: refused, with the reason; best=0: skipped; in a DKMS stream it comes."""
    refusing, skipping = make(), make(best=False)
    for host in (refusing, skipping):
        use(host, repos.repo, "r550-open")
        host.run("dnf", "-y", "install", *PROFILE)
    done = refusing.run("dnf", "-y", "install", f"kernel-core-{sample.K570.core.evr}", ok=(1,))
    assert "nvidia-kmod-common" in done.stdout + done.stderr
    refusing.run("dnf", "-y", "upgrade", ok=(1,))
    skipping.run("dnf", "-y", "upgrade")
    for host in (refusing, skipping):
        assert host.kernels() == sorted(KERNELS)
        check(host, "r550-open")
    skipping.run("nvidia-driver-stream", "r550-dkms", "-y")
    skipping.run("dnf", "-y", "upgrade")
    assert str(sample.K570.core.evr) in skipping.kernels()


def test_a_stream_that_does_not_exist_leaves_the_host_as_it_is(repos: BranchRepos, make: Make) -> None:
    host = make()
    use(host, repos.repo, "r535")
    host.run("dnf", "-y", "install", *PROFILE)
    host.run("nvidia-driver-stream", "r999", "-y", ok=(1,))
    check(host, "r535")
    assert "usage" in host.run("nvidia-driver-stream", "../r550", ok=(2,)).stderr
    host.run("dnf", "-y", "upgrade", "nvidia*")
    check(host, "r535")


def test_by_hand_it_takes_the_variable_and_a_sync(repos: BranchRepos, make: Make) -> None:
    """Without the release package: the published .repo file, the variable, two commands a switch."""
    host = make()
    shutil.copy(repos.repo / "el10.repo", host.root / "etc/yum.repos.d")
    variable = host.root / "etc/dnf/vars/nvidiastream"
    variable.write_text("r550-open\n")
    host.run("dnf", "-y", "install", *PROFILE)
    variable.write_text("r535-open\n")
    host.run("dnf", "-y", "distro-sync", *OURS)
    assert {v.rpartition("-")[0] for v in host.installed().values()} == {"535.261.03"}


@pytest.mark.parametrize("tools", [None], indirect=False)
def test_an_altered_tree_or_package_is_refused(repos: BranchRepos, make: Make, tmp_path: Path) -> None:
    bad = tmp_path / "bad"
    shutil.copytree(repos.repo, bad, symlinks=True)
    tree = (bad / "el10/x86_64").resolve() / "streams/r550"
    flip(tree / f"{RELEASE}.rpm")
    host = make()
    host.run("dnf", "-y", "install", str(tree / f"{RELEASE}.rpm"), ok=(1,))
    assert host.installed() == {}
    use(host, repos.repo, "r550")
    configured = host.root / "etc/yum.repos.d/nvidia-driver-el10.repo"
    good = configured.read_text()
    configured.write_text(good.replace(f"baseurl={repos.repo.as_uri()}", f"baseurl={bad.as_uri()}"))
    flip(tree / "repodata/repomd.xml")
    done = host.run("dnf", "-y", "install", *PROFILE, ok=(1,))
    assert "Bad GPG signature" in done.stdout + done.stderr
    assert set(host.installed()) == {RELEASE}
    shutil.copy(
        tree.parent / "r550-open/repodata/repomd.xml", tree / "repodata"
    )  # of another tree, under its signature
    done = host.run("dnf", "-y", "install", *PROFILE, ok=(1,))
    assert "Bad GPG signature" in done.stdout + done.stderr


@pytest.mark.parametrize("tools", [None], indirect=False)
def test_a_mirror_of_one_stream_is_whole(repos: BranchRepos, make: Make, tmp_path: Path) -> None:
    """dnf reposync refuses metadata that points out of its tree."""
    host = make()
    use(host, repos.repo, "r550")
    host.run(
        "dnf", "-y", "reposync", "--setopt=plugins=1", "--repo", "nvidia-driver-el10", "-p", str(tmp_path / "mirror")
    )
    names = {path.name for path in (tmp_path / "mirror").rglob("*.rpm")}
    assert names == {a.nevra.filename for a in repos.streams["r550"]}


def look(repo: Path, repos: BranchRepos, tmp_path: Path) -> tuple[str, ...]:
    """What verify has against a published repository."""
    tmp = tmp_path / f"look-{len(list(tmp_path.iterdir()))}"
    tmp.mkdir()
    try:
        verify_publication(str(repo), repos.signer.public_key(), tmp)
    except VerifyError as exc:
        return exc.details
    return ()


def _lose_metadata(tree: Path) -> None:
    shutil.rmtree(tree / "repodata")


def _other_release(tree: Path) -> None:
    (tree / f"{RELEASE}.rpm").unlink()
    shutil.copy(tree.parent / f"r550-open/{RELEASE}.rpm", tree)


def _other_metadata(tree: Path) -> None:
    """Good signatures and checksums, but of a tree that nobody called by this name: its release says so."""
    shutil.rmtree(tree / "repodata")
    shutil.copytree(tree.parent / "r550-open/repodata", tree / "repodata")


def _lose_the_pool(tree: Path) -> None:
    (tree / "Packages").unlink()


HARM: dict[str, tuple[Callable[[Path], None], str]] = {
    "a byte of a package": (lambda tree: flip(next(tree.glob("Packages/n/nvidia-driver-cuda-5*"))), "checksum differs"),
    "a byte of the metadata": (lambda tree: flip(tree / "repodata/repomd.xml"), "streams/r550/repodata/repomd.xml:"),
    "no metadata": (_lose_metadata, "streams/r550/repodata/repomd.xml: missing"),
    "no pool": (_lose_the_pool, "missing"),
    "another stream's release package": (_other_release, f"streams/r550/{RELEASE}.rpm: is not the package"),
    "another stream's metadata": (_other_metadata, f"streams/r550/{RELEASE}.rpm: is not the package"),
    "no release package": (lambda tree: (tree / f"{RELEASE}.rpm").unlink(), f"streams/r550/{RELEASE}.rpm: missing"),
}


@pytest.mark.parametrize("harm", HARM)
def test_verify_looks_at_each_tree_and_names_the_fault(harm: str, repos: BranchRepos, tmp_path: Path) -> None:
    whole = (repos.repo / "el10/x86_64").resolve()
    assert look(whole, repos, tmp_path) == ()
    bad = tmp_path / "bad"
    copy_generation(whole, bad)
    change, said = HARM[harm]
    change(bad / "streams/r550")
    faults = look(bad, repos, tmp_path)
    assert any(said in fault for fault in faults), faults


def test_the_same_content_is_the_same_publication(repos: BranchRepos, tmp_path: Path) -> None:
    first = repos.publish()
    assert not repos.publish().changed
    again = repos.publish(repo=tmp_path / "elsewhere")
    assert again.digest == first.digest
    assert content_tree(first.path) == content_tree(again.path)


def test_the_manifest_covers_all_trees(repos: BranchRepos, tmp_path: Path) -> None:
    """One manifest for the pool and the metadata of every stream; one tree of another publication is a mixture."""
    keys = [repos.signer.public_key()]
    whole = tmp_path / "whole"
    copy_generation(repos.publish().path, whole)
    (tmp_path / "look").mkdir()
    report = verify_integrity(str(whole), keys, tmp_path / "look", now=TERMS.now)
    listed = {file.path for file in report.manifest.files}
    assert {f"streams/{name}/repodata/repomd.xml" for name in STREAMS} <= listed
    assert not any(path.startswith("streams/") and "/Packages/" in path for path in listed)  # the pool, once
    shutil.rmtree(whole / "streams/r550/repodata")
    shutil.copytree(whole / "streams/r535/repodata", whole / "streams/r550/repodata")
    (tmp_path / "again").mkdir()
    with pytest.raises(MixedError, match=r"streams/r550/repodata/repomd\.xml: belongs to another publication"):
        verify_integrity(str(whole), keys, tmp_path / "again", now=TERMS.now, quick=True)


def test_the_gate_proves_every_switch_between_trees(repos: BranchRepos) -> None:
    path = (repos.repo / "el10/x86_64").resolve()
    proof = prove_transitions(path, path)
    assert proof.faults == ()
    assert proof.transitions > (len(STREAMS) + 1) * len(STREAMS) * 3 * 2


@pytest.mark.parametrize(
    ("missing", "said"),
    [
        ("nvidia-kmod-common", "nvidia-kmod-common"),
        ("kmod-nvidia-5.14.0-503.11.1.el9_5", "kmod-nvidia-5.14.0-503.11.1.el9_5"),
        ("nvidia-kmod-objects", "nvidia-kmod-join(2)"),
    ],
)
def test_the_gate_names_a_tree_that_is_half(missing: str, said: str, repos: BranchRepos, tmp_path: Path) -> None:
    """What is missing of one tree stands in the pool and in another tree, and does not count."""
    streams = {name: repos.streams[name] for name in STREAMS}
    half = [a for a in streams["r550"] if a.nevra.name != missing]
    assert len(half) == len(streams["r550"]) - 1
    content = repos.content({**streams, "r550": half})
    sign = partial(repos.signer.sign_detached, epoch=1)
    made = publish(content, tmp_path / "half", public_key=repos.signer.public_key(), sign=sign, epoch=1, terms=TERMS)
    faults = prove_transitions(made.path, None).faults
    assert faults
    assert all("r550" in fault.partition(" on ")[0] for fault in faults), faults
    assert any(said in fault for fault in faults), faults


def test_a_stream_that_no_package_selects_is_refused(repos: BranchRepos, tmp_path: Path) -> None:
    content = repos.content({"r550": [a for a in repos.streams["r550"] if a.nevra.name != RELEASE]})
    with pytest.raises(PublishError, match="stream r550: no package selects it, or one of another stream"):
        publish(
            content, tmp_path / "none", public_key=repos.signer.public_key(), sign=lambda _: b"", epoch=1, terms=TERMS
        )


def test_another_default_tree_is_refused_until_it_names_the_one_whose_place_it_takes(
    repos: BranchRepos, tmp_path: Path
) -> None:
    def put(default: str, *instead_of: str) -> str:
        streams = {name: repos.streams[name] for name in ("r535", "r550")}
        content = repos.content(streams, default=default, instead_of=instead_of)
        sign = partial(repos.signer.sign_detached, epoch=1)
        return publish(
            content, tmp_path / "repo", public_key=repos.signer.public_key(), sign=sign, epoch=1, terms=TERMS
        ).digest

    put("r535")
    with pytest.raises(PublishError, match="the default stream would change from 'r535' to 'r550'"):
        put("r550")
    put("r550", "r535")
