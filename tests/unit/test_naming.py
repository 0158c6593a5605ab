"""Names and versions of packages."""

from __future__ import annotations

import pytest

from builder.model import naming
from builder.model.cells import PackageKind
from builder.model.matrix import Flavor, Kmods
from builder.model.nevra import Evr
from tests.golden import sample


def test_a_kmods_name_carries_its_kernel_and_its_version_is_the_drivers() -> None:
    nevra = naming.kmod_nevra(sample.cell(flavor=Flavor.PROPRIETARY), sample.MATRIX)
    assert str(nevra) == "kmod-nvidia-5.14.0-503.11.1.el9_5-3:535.261.03-1.el9.x86_64"


def test_flavor_and_serial_stand_in_a_kmods_release() -> None:
    nevra = naming.kmod_nevra(sample.cell(), sample.MATRIX, serial=4)
    assert nevra.evr.release == "4.open.el9"


@pytest.mark.parametrize(
    ("kernel", "name"),
    [
        (sample.CLOUD, "kmod-nvidia-6.1.0-50-cloud-amd64"),
        (sample.K570, "kmod-nvidia-5.14.0-570.12.1.el9_6.0.1"),
        (sample.RT, "kmod-nvidia-5.14.0-503.11.1.el9_5.x86_64+rt"),
    ],
)
def test_a_kernel_release_is_taken_as_it_is(kernel: object, name: str) -> None:
    assert naming.kmod_name(kernel) == name  # type: ignore[arg-type]


def test_kmods_of_two_variants_with_one_version_have_two_names() -> None:
    assert naming.kmod_name(sample.K503) != naming.kmod_name(sample.RT)


def test_the_long_name_says_driver_flavor_and_kernel() -> None:
    assert naming.kmod_long_name(sample.cell()) == "kmod-nvidia-open-535.261.03-5.14.0-503.11.1.el9_5"


@pytest.mark.parametrize(
    ("flavor", "kmods", "release"),
    [
        (Flavor.PROPRIETARY, Kmods.PRECOMPILED, "7.el9"),
        (Flavor.PROPRIETARY, Kmods.DKMS, "7.dkms.el9"),
        (Flavor.OPEN, Kmods.PRECOMPILED, "7.open.el9"),
        (Flavor.OPEN, Kmods.DKMS, "7.open.dkms.el9"),
    ],
)
def test_a_gates_release_says_flavor_and_delivery(flavor: Flavor, kmods: Kmods, release: str) -> None:
    assert naming.gate_nevra(sample.gate(flavor=flavor, kmods=kmods), 7, sample.MATRIX).evr.release == release


def test_only_gates_have_a_gates_name() -> None:
    with pytest.raises(ValueError, match="is not a gate"):
        naming.gate_nevra(sample.unit(PackageKind.DRIVER), 1, sample.MATRIX)


def test_what_obsoletes_must_be_below_is_above_all_of_ours() -> None:
    ours = naming.kmod_nevra(sample.cell(d=sample.D550), sample.MATRIX, serial=99).evr
    beyond = Evr.parse(f"{naming.beyond_ours(sample.MATRIX)}-0")
    assert ours < beyond
    assert not ours < Evr.parse("9999-0")  # what a plain "< 9999" would mean


def test_the_packages_of_a_driver_have_one_evr() -> None:
    nevras = naming.package_nevras(sample.unit(PackageKind.DRIVER), sample.MATRIX, serial=2)
    assert {n.evr for n in nevras} == {naming.driver_evr(sample.D535, sample.EL9, sample.MATRIX, serial=2)}
    assert nevras[0].name == "nvidia-driver"


def test_every_package_is_of_its_repositorys_architecture() -> None:
    for kind in (PackageKind.DRIVER, PackageKind.CUDA_DRIVERS, PackageKind.OPEN_META):
        assert {n.arch for n in naming.package_nevras(sample.unit(kind), sample.MATRIX)} == {"x86_64"}


def test_32_bit_libraries_are_packages_of_their_own_architecture_in_the_same_repository() -> None:
    unit = sample.unit(PackageKind.COMPAT32)
    nevras = naming.package_nevras(unit, sample.MATRIX)
    assert [(n.name, n.arch) for n in nevras] == [("nvidia-driver-libs", "i686"), ("nvidia-driver-cuda-libs", "i686")]
    assert (unit.arch, naming.package_arch(unit)) == ("x86_64", "i686")
    assert naming.repository_arch(("i686", "x86_64", "src")) == "x86_64"
    assert naming.repository_arch(("noarch",)) is None


def test_dkms_packages_of_two_flavors_are_told_apart() -> None:
    releases = {
        naming.package_nevra(sample.unit(PackageKind.DKMS, flavor=f), sample.MATRIX).evr.release for f in Flavor
    }
    assert releases == {"1.el9", "1.open.el9"}
    assert naming.dkms_capability(Flavor.OPEN) == "dkms-nvidia(open)"
