"""The publication gate: what a client could not do is named; metadata that dnf itself is tested with passes."""

from __future__ import annotations

import re
import shutil
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.publish import expectations, prove_transitions, solvables
from builder.publish.closure import closure_faults
from builder.publish.module_checks import read_modules
from builder.tools.createrepo import read_primary
from builder.tools.run import run
from tests.tools.stream_repository import STREAMS, Repository, stub

Change = Callable[[dict[str, dict[str, Any]]], object]


@pytest.fixture(scope="module")
def repository(streams: Repository) -> Path:
    return streams.folder


def altered(repository: Path, folder: Path, change: Change) -> Path:
    """The repository with other module documents, by stream."""
    shutil.copytree(repository, folder, copy_function=lambda a, b: Path(b).hardlink_to(a))
    documents = list(yaml.safe_load_all((repository / "modules.yaml").read_text()))
    change({d["data"]["stream"]: d["data"] for d in documents if d["document"] == "modulemd"})
    (folder / "modules.yaml").unlink()
    (folder / "modules.yaml").write_text(yaml.safe_dump_all(documents, explicit_start=True, explicit_end=True))
    shutil.rmtree(folder / "repodata")
    run(["createrepo_c", "-q", "--compress-type", "gz", folder], timeout=120)
    return folder


def without(stream: str, pattern: str) -> Change:
    """Take artifacts out of a stream."""

    def change(streams: dict[str, dict[str, Any]]) -> None:
        rpms = streams[stream]["artifacts"]["rpms"]
        left = [a for a in rpms if not re.match(pattern, a)]
        assert len(left) < len(rpms), pattern
        streams[stream]["artifacts"]["rpms"] = left

    return change


def kernels_of(repository: Path) -> Sequence[str]:
    return sorted(p.name.split("-", 2)[2].split("-535")[0] for p in repository.glob("kmod-nvidia-*-535*-1.el9.*.rpm"))


def test_what_real_dnf_can_do_is_found_possible(repository: Path) -> None:
    proof = prove_transitions(repository, repository)
    assert proof.faults == ()
    # Each stream: install and switches to five others, on two kernels alone and together, from both generations.
    assert proof.transitions > len(STREAMS) * 5 * 3 * 2


def test_a_package_is_asked_for_its_kernels_once_a_stream_and_not_once_a_transition(
    repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def noted(package: object) -> Iterator[str]:
        asked.append(str(package))
        return solvables.kernels_of(package)

    monkeypatch.setattr(expectations, "kernels_of", noted)
    proof = prove_transitions(repository, repository)
    # As often as streams hold a package, in either generation.
    assert max(Counter(asked).values()) <= 2 * len(STREAMS)
    assert len(asked) < 2 * len(STREAMS) * len(set(asked)) < proof.transitions * len(set(asked)) / 10


@pytest.mark.parametrize(
    ("stream", "missing", "said"),
    [
        ("r550", r"nvidia-kmod-common-", r"nvidia-kmod-common.* needed by nvidia-driver"),
        ("r550", r"kmod-nvidia-5\.14\.0-503", r"requires \(kmod-nvidia-5.14.0-503"),
        ("r550", r"kmod-nvidia-", r"requires \(kmod-nvidia-5.14.0-503"),
        ("r550", r"(kmod-nvidia|nvidia-kmod)-", r"nvidia-kmod-common|a module for no kernel"),
        ("r550", r"nvidia-kmod-objects-", r"nvidia-kmod-(object|join)"),
        ("r550", r"cuda-drivers-", r"cuda-drivers"),
        ("r535", r"nvidia-driver-cuda-3", r"nvidia-driver-cuda"),
        ("r550-dkms", r"dkms-nvidia-", r"dkms-nvidia"),
        ("r535-open", r"nvidia-driver-3:535", r"nothing provides|no nvidia-driver"),
    ],
)
def test_half_a_driver_is_refused_and_its_package_named(
    repository: Path, tmp_path: Path, stream: str, missing: str, said: str
) -> None:
    folder = altered(repository, tmp_path / "repo", without(stream, missing))
    faults = prove_transitions(folder, None).faults
    assert faults
    assert all(stream in fault.partition(" on ")[0] for fault in faults), faults
    assert any(re.search(said, fault) for fault in faults), faults


def test_a_stream_that_lost_a_kernels_module_breaks_the_upgrade_of_its_hosts(repository: Path, tmp_path: Path) -> None:
    """The gate still lets the kernel in and asks for its module."""
    folder = altered(repository, tmp_path / "repo", without("r535", r"kmod-nvidia-5\.14\.0-427"))
    faults = prove_transitions(folder, repository).faults
    assert any("kmod-nvidia-5.14.0-427" in fault for fault in faults), faults


def closure_of(folder: Path) -> list[str]:
    """What ``verify`` says of a stream that lacks something, which is a part of every publication."""
    modules, _ = read_modules((folder / "modules.yaml").read_bytes())
    assert modules is not None
    (primary,) = (folder / "repodata").glob("*primary.xml.gz")
    return closure_faults(primary, read_primary(primary), modules, ())[1]


def test_a_driver_without_its_32_bit_libraries_is_refused_and_they_are_named(repository: Path, tmp_path: Path) -> None:
    """Nothing requires them, and a first publication has no hosts that do: the 64-bit package says that they exist."""
    assert closure_of(repository) == []
    folder = altered(repository, tmp_path / "repo", without("r550", r"nvidia-driver-libs-.*\.i686"))
    (fault,) = closure_of(folder)
    assert fault.startswith("stream r550: nvidia-driver-libs-3:550.163.01-1.el9.x86_64")
    assert "nvidia-driver-libs(x86-32) = 3:550.163.01" in fault


def test_hosts_with_32_bit_libraries_cannot_be_left_behind(repository: Path, tmp_path: Path) -> None:
    folder = altered(repository, tmp_path / "repo", without("r550", r"nvidia-driver-.*\.i686"))
    faults = prove_transitions(folder, repository).faults
    assert faults
    assert all("r550 of the publication before with 32-bit libraries upgrade" in fault for fault in faults), faults
    assert all(re.search(r"nvidia-driver-(cuda-)?libs-3:550\.163\.01-1\.el9\.i686", fault) for fault in faults), faults


def test_a_profile_that_asks_for_what_is_not_there_is_refused(repository: Path, tmp_path: Path) -> None:
    def change(streams: dict[str, dict[str, Any]]) -> None:
        streams["r535"]["profiles"]["fm"] = {"rpms": ["nvidia-driver", "nvidia-fabric-manager"]}

    faults = prove_transitions(altered(repository, tmp_path / "repo", change), None).faults
    assert len(faults) == 1
    assert faults[0].startswith("r535: install profile fm on kernel-core = ")
    assert "nvidia-fabric-manager" in faults[0]


def test_a_fabric_manager_that_a_publication_lost_is_named(repository: Path, tmp_path: Path) -> None:
    """Left out of the profile too, so that only its hosts notice."""

    def change(streams: dict[str, dict[str, Any]]) -> None:
        without("r550", r"nvidia-fabricmanager-3")(streams)
        del streams["r550"]["profiles"]["fm"]

    assert prove_transitions(altered(repository, tmp_path / "first", change), None).faults == ()
    faults = prove_transitions(altered(repository, tmp_path / "repo", change), repository).faults
    assert faults
    assert all(f.startswith("r550 of the publication before with profile fm upgrade") for f in faults), faults
    assert all("nvidia-fabricmanager-3:550.163.01" in f for f in faults), faults


def test_a_package_of_another_driver_in_a_stream_is_refused(repository: Path, tmp_path: Path) -> None:
    """Lockstep: the compute libraries of 550 would come beside driver 535."""

    def change(streams: dict[str, dict[str, Any]]) -> None:
        extra = [a for a in streams["r550-open"]["artifacts"]["rpms"] if a.startswith("nvidia-open-")]
        streams["r535-open"]["artifacts"]["rpms"] += extra
        streams["r535-open"]["profiles"]["default"]["rpms"] += ["nvidia-open"]

    faults = prove_transitions(altered(repository, tmp_path / "repo", change), None).faults
    assert faults
    assert any("r535-open" in fault and "550.163.01" in fault for fault in faults), faults


def test_a_gate_that_lets_a_kernel_in_without_its_module_is_refused(repository: Path, tmp_path: Path) -> None:
    """A gate of the DKMS stream lets every kernel in; beside kmods it guards nothing."""

    def change(streams: dict[str, dict[str, Any]]) -> None:
        rpms = streams["r550"]["artifacts"]["rpms"]
        dkms = streams["r550-dkms"]["artifacts"]["rpms"]
        streams["r550"]["artifacts"]["rpms"] = [a for a in rpms if not a.startswith("nvidia-kmod-common-")] + [
            a for a in dkms if a.startswith(("nvidia-kmod-common-", "dkms-nvidia-"))
        ]

    faults = prove_transitions(altered(repository, tmp_path / "repo", change), repository).faults
    assert any(fault.startswith("r550 ") for fault in faults), faults


def test_nothing_may_take_the_package_away_that_brings_the_repository(repository: Path, tmp_path: Path) -> None:
    """It is in no stream, and on every host; see ADR 0035."""
    release = stub("nvidia-driver-release", "9-1", [], [], tmp_path)

    def beside(_streams: dict[str, dict[str, Any]]) -> None:
        shutil.copy(release.path, tmp_path / "good" / release.path.name)

    folder = altered(repository, tmp_path / "good", beside)
    assert prove_transitions(folder, None).faults == ()
    thief = stub("nvidia-thief", "1-1", ["thief\nObsoletes: nvidia-driver-release"], [], tmp_path)

    def obsoleted(streams: dict[str, dict[str, Any]]) -> None:
        shutil.copy(thief.path, tmp_path / "bad" / thief.path.name)
        streams["r550"]["artifacts"]["rpms"].append(thief.nevra.artifact)

    faults = prove_transitions(altered(folder, tmp_path / "bad", obsoleted), None).faults
    assert any("nvidia-driver-release-9-1.x86_64 would be removed" in fault for fault in faults), faults


def test_metadata_that_cannot_be_read_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(Exception, match=r"repomd\.xml"):
        prove_transitions(tmp_path, None)
