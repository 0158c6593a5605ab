"""What matrix.yaml and streams/*.yaml become once they are right."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.model.matrix import Delivery, Flavor, Kmods, Matrix, Profile
from builder.model.nevra import Evr

ROOT = Path(__file__).parent.parent.parent
GOOD = Path(__file__).parent.parent / "assets" / "config" / "good"


@pytest.fixture(scope="module")
def good() -> Matrix:
    return load_matrix(GOOD / "matrix.yaml")


@pytest.fixture(scope="module")
def production() -> Matrix:
    return load_matrix(ROOT / "matrix.yaml")


def test_a_kernel_is_data_and_nothing_is_cut_out_of_its_name(good: Matrix) -> None:
    kernel = next(k for k in good.distribution("lab9").kernels if k.variant == "cloud")
    assert kernel.release == "6.1.0-56-cloud-amd64"
    assert (kernel.core.name, kernel.core.evr) == ("kernel-cloud-core", Evr(version="6.1.0", release="56.lab9"))
    assert kernel.devel_path == "/usr/src/kernels/6.1.0-56-cloud-amd64"
    assert kernel.compiler.version_text == "gcc-12 12.2.0"
    assert kernel.read_from == "kernel-cloud-core-6.1.0-56.lab9.x86_64.rpm"


def test_kernels_are_ordered_by_variant_then_evr_as_rpm_compares(good: Matrix) -> None:
    assert [k.release for k in good.distribution("lab9").kernels] == [
        "6.1.0-56-cloud-amd64",
        "6.1.0-9-amd64",
        "6.1.0-56-amd64",
    ]


def test_branches_and_drivers_are_ordered_oldest_first(good: Matrix) -> None:
    assert [(b.name, [d.version for d in b.drivers]) for b in good.branches] == [
        ("430", ["430.64"]),
        ("535", ["535.99.01", "535.261.03"]),
        ("550", ["550.163.01"]),
    ]


def test_a_branch_carries_its_lifetime(good: Matrix) -> None:
    branch = good.branches[1]
    assert (branch.type, branch.eol, branch.max_cuda, branch.gpus) == ("LTS", "2026-06", "12.2", ("turing",))
    assert good.branches[2].eol is None


def test_url_templates_are_expanded_and_relative_paths_start_at_the_matrix(good: Matrix) -> None:
    urls = {d.version: d.run_source("x86_64").url for b in good.branches for d in b.drivers}
    assert urls == {
        "430.64": "/srv/430/NVIDIA-Linux-x86_64-430.64.run",
        "535.99.01": "https://example.org/535.99.01.run",
        "535.261.03": f"{GOOD}/drivers/NVIDIA-Linux-x86_64-535.261.03.run",
        "550.163.01": "file:///srv/NVIDIA-Linux-x86_64-550.163.01.run",
    }


def test_repositories_become_urls_and_keep_the_variables_of_dnf(good: Matrix) -> None:
    lab, extra = good.distribution("lab9").chroot("x86_64").repositories
    assert (lab.baseurl, lab.gpgcheck, lab.gpgkey) == (f"file://{GOOD}/repo/$basearch", True, f"file://{GOOD}/keys/LAB")
    assert (extra.baseurl, extra.gpgcheck, extra.gpgkey) == ("https://example.org/$releasever/", False, None)


def test_relative_paths_start_at_the_matrix_wherever_repobuild_is_called(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(GOOD.parent)
    matrix = load_matrix(Path("good/matrix.yaml"))
    assert matrix.branches[1].drivers[1].run_source("x86_64").url.startswith(f"{GOOD}/drivers/")


def test_a_chroot_is_described_for_each_arch(good: Matrix) -> None:
    chroot = good.distribution("lab9").chroot("x86_64")
    assert (chroot.name, chroot.template, chroot.releasever) == ("lab9-x86_64", "lab9.cfg.j2", "9")
    assert chroot.template_text == (GOOD / "mock-configs" / "lab9.cfg.j2").read_text()
    assert chroot.packages == ("rpm-build", "gcc-12")
    assert chroot.macros == (("_a", "one"), ("_b", "two"))


def test_drivers_yield_the_five_modules_unless_the_file_says_otherwise(good: Matrix) -> None:
    modules = {d.version: d.modules for b in good.branches for d in b.drivers}
    assert modules["430.64"] == ("nvidia", "nvidia-uvm")
    assert modules["535.261.03"] == ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")


def test_streams_are_sorted_by_name_and_newest_complete_is_no_branch(good: Matrix) -> None:
    assert [(s.name, s.branch, s.flavor, s.kmods, s.default) for s in good.streams] == [
        ("latest", None, Flavor.OPEN, Kmods.PRECOMPILED, True),
        ("latest-dkms", None, Flavor.PROPRIETARY, Kmods.DKMS, False),
        ("r430", "430", Flavor.PROPRIETARY, Kmods.PRECOMPILED, False),
        ("r535", "535", Flavor.PROPRIETARY, Kmods.PRECOMPILED, False),
    ]
    latest, dkms = good.streams[:2]
    assert latest.profiles[1] == Profile(name="ks", packages=("nvidia-driver",))
    assert latest.description == "Follows the newest driver."
    assert (dkms.default_profile, dkms.distributions) == ("small", ("lab9",))


def test_defaults_of_a_distribution(good: Matrix) -> None:
    lab9, lab7 = good.distributions
    assert (lab9.payload, lab9.delivery) == ("w3.zstdio", Delivery.MODULAR)
    assert (lab7.payload, lab7.delivery) == ("w6.gzdio", Delivery.BRANCH_PACKAGES)


def test_streams_and_templates_can_lie_elsewhere(tmp_path: Path) -> None:
    folder = shutil.copytree(GOOD, tmp_path / "config")
    (folder / "streams").rename(tmp_path / "offers")
    (folder / "mock-configs").rename(folder / "chroots")
    text = (folder / "matrix.yaml").read_text()
    (folder / "matrix.yaml").write_text(text.replace("vendor: tests", "vendor: tests\nmock_configs: chroots"))
    matrix = load_matrix(folder / "matrix.yaml", tmp_path / "offers")
    assert len(matrix.streams) == 4


def test_without_a_folder_of_templates_the_programs_own_are_used(tmp_path: Path) -> None:
    folder = shutil.copytree(GOOD, tmp_path / "config")
    shutil.rmtree(folder / "mock-configs")
    text = (folder / "matrix.yaml").read_text()
    (folder / "matrix.yaml").write_text(text.replace("lab9.cfg.j2", "el9.cfg.j2"))
    matrix = load_matrix(folder / "matrix.yaml")
    assert matrix.distribution("lab9").chroot("x86_64").template_text == (ROOT / "mock-configs/el9.cfg.j2").read_text()


def test_the_production_files_have_no_mistake(production: Matrix) -> None:
    assert [d.name for d in production.distributions] == ["el7", "el8", "el9", "el10"]
    assert [b.name for b in production.branches] == ["418", "430", "470", "535", "550", "570", "580", "590", "595"]
    assert {"r535", "r535-open", "r550-open", "latest", "latest-dkms"} <= {s.name for s in production.streams}


def test_the_first_preview_stands_in_the_production_matrix_as_branch_packages(production: Matrix) -> None:
    el7 = production.distribution("el7")
    assert el7.delivery is Delivery.BRANCH_PACKAGES
    assert el7.kernels[0].release.startswith("3.10.0-957")
    assert not el7.payload.endswith("zstdio")  # rpm 4.11 reads no zstd


def test_latest_is_open_and_the_only_default(production: Matrix) -> None:
    (default,) = (s for s in production.streams if s.default)
    assert (default.name, default.flavor) == ("latest", Flavor.OPEN)


def test_no_production_branch_from_590_on_offers_gpus_that_it_does_not_drive(production: Matrix) -> None:
    late = [b for b in production.branches if int(b.name) >= 590]
    assert late
    assert all(not {"maxwell", "pascal", "volta"} & set(b.gpus) for b in late)


def test_every_production_buildroot_checks_signatures(production: Matrix) -> None:
    repositories = [r for d in production.distributions for c in d.chroots for r in c.repositories]
    assert all(r.gpgcheck and r.gpgkey and r.baseurl.startswith("https://") for r in repositories)
