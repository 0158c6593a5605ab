"""What a gate lets in and keeps out."""

from __future__ import annotations

import pytest

from builder.errors import RenderError
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Dnf, Flavor, Kernel, Kmods
from builder.model.naming import kmod_nevra
from builder.render import render_gate
from builder.render.gates import kernel_conflicts
from tests.golden import sample


def conflicts(*supported: Kernel) -> list[str]:
    known = sorted(sample.gate_kernels(*supported), key=lambda k: (k.kernel.core.name, k.kernel.core.evr))
    return list(kernel_conflicts(known))


def tags(text: str, tag: str) -> list[str]:
    return [line.split(":", 1)[1].strip() for line in text.splitlines() if line.startswith(f"{tag}:")]


def gate_text(*supported: Kernel, flavor: Flavor = Flavor.OPEN, kmods: Kmods = Kmods.PRECOMPILED) -> str:
    kernels = sample.gate_kernels(*supported, flavor=flavor)
    return render_gate(sample.gate(flavor=flavor, kmods=kmods), kernels, 1, sample.MATRIX).text


def test_kernels_below_the_first_and_above_the_last_are_kept_out() -> None:
    assert "kernel-core < 5.14.0-503.11.1.el9_5" in conflicts(sample.K503)
    assert "kernel-core > 5.14.0-503.11.1.el9_5" in conflicts(sample.K503)


def test_every_gap_between_two_supported_kernels_is_kept_out() -> None:
    found = conflicts(sample.K427, sample.K503, sample.K570)
    assert "(kernel-core > 5.14.0-427.13.1.el9_4 with kernel-core < 5.14.0-503.11.1.el9_5)" in found
    assert "(kernel-core > 5.14.0-503.11.1.el9_5 with kernel-core < 5.14.0-570.12.1.el9_6.0.1)" in found


def test_a_kernel_without_a_module_between_two_supported_ones_lies_in_a_gap() -> None:
    found = conflicts(sample.K427, sample.K570)
    assert "(kernel-core > 5.14.0-427.13.1.el9_4 with kernel-core < 5.14.0-570.12.1.el9_6.0.1)" in found
    assert not any("503" in conflict for conflict in found)


def test_a_variant_without_any_module_is_kept_out_whole() -> None:
    assert "kernel-rt-core" in conflicts(sample.K503)


def test_kernels_that_the_matrix_has_none_of_are_kept_out_whole() -> None:
    dist = sample.distribution(other_kernels=("kernel-64k-core", "kernel-rt-core"))
    gate = sample.gate(flavor=Flavor.OPEN, dist=dist)
    text = render_gate(gate, sample.gate_kernels(sample.K503, sample.RT, flavor=Flavor.OPEN), 1, sample.MATRIX).text
    found = tags(text, "Conflicts")
    assert "kernel-64k-core" in found
    assert "kernel-rt-core" not in found, "a kernel that has its module is let in, whatever that list says"
    assert "kernel-rt-core > 5.14.0-503.11.1.el9_5" in found


def test_variants_are_judged_each_by_itself() -> None:
    found = conflicts(sample.K503, sample.RT)
    assert "kernel-rt-core < 5.14.0-503.11.1.el9_5" in found
    assert "kernel-cloud-core" in found


def test_each_supported_kernel_asks_for_its_own_module_when_it_is_installed() -> None:
    requires = tags(gate_text(sample.K503, sample.CLOUD), "Requires")
    assert (
        "(kmod-nvidia-5.14.0-503.11.1.el9_5 = 3:535.261.03-1.open.el9 if kernel-core = 5.14.0-503.11.1.el9_5)"
        in requires
    )
    assert (
        "(kmod-nvidia-6.1.0-50-cloud-amd64 = 3:535.261.03-1.open.el9 if kernel-cloud-core = 6.1.0-50.lab9)" in requires
    )


def test_a_gate_asks_for_the_very_release_of_a_rebuilt_kmod() -> None:
    (kernel,) = sample.gate_kernels(sample.K503, kernels=(sample.K503,))
    rebuilt = GateKernel(kernel=kernel.kernel, kmod=kmod_nevra(sample.cell(), sample.MATRIX, serial=3))
    text = render_gate(sample.gate(), (rebuilt,), 1, sample.MATRIX).text
    assert "= 3:535.261.03-3.open.el9 if" in text


def test_a_dkms_gate_keeps_no_kernel_out_and_takes_over_from_every_kmod() -> None:
    text = gate_text(sample.K503, kmods=Kmods.DKMS)
    assert tags(text, "Conflicts") == []
    obsoletes = tags(text, "Obsoletes")
    assert obsoletes[:2] == ["kmod-nvidia-6.1.0-50-cloud-amd64 < 4:0", "kmod-nvidia-5.14.0-427.13.1.el9_4 < 4:0"]
    assert len([o for o in obsoletes if o.startswith("kmod-")]) == len(sample.KERNELS)
    assert "dkms-nvidia(open) = 3:535.261.03" in tags(text, "Requires")


def test_a_precompiled_gate_takes_over_from_dkms() -> None:
    assert tags(gate_text(sample.K503), "Obsoletes") == ["dkms-nvidia < 4:0"]


def test_a_proprietary_gate_takes_the_open_meta_package_away() -> None:
    assert "nvidia-open < 4:0" in tags(gate_text(sample.K503, flavor=Flavor.PROPRIETARY), "Obsoletes")
    assert "nvidia-open < 4:0" in tags(gate_text(flavor=Flavor.PROPRIETARY, kmods=Kmods.DKMS), "Obsoletes")


def test_gates_of_two_flavors_do_not_conflict() -> None:
    for flavor in Flavor:
        assert not any("nvidia" in conflict for conflict in tags(gate_text(sample.K503, flavor=flavor), "Conflicts"))


def test_open_modules_need_firmware_and_proprietary_ones_recommend_it() -> None:
    assert "nvidia-firmware = 3:535.261.03" in tags(gate_text(sample.K503), "Requires")
    text = gate_text(sample.K503, flavor=Flavor.PROPRIETARY)
    assert "nvidia-firmware = 3:535.261.03" in tags(text, "Recommends")
    assert not any("firmware" in requirement for requirement in tags(text, "Requires"))


def test_a_gate_recommends_the_plugin_of_what_its_hosts_have_and_that_of_dkms_takes_it_away() -> None:
    here = (sample.distribution(dnf=tuple(Dnf)), sample.distribution(dnf=(Dnf.DNF5,)), sample.distribution())
    kernels = sample.gate_kernels(sample.K503)
    both, newer, older = (render_gate(sample.gate(dist=d), kernels, 1, sample.MATRIX).text for d in here)
    dnf4, dnf5 = (
        f"({name} = 3:535.261.03 if {having})"
        for name, having in (("dnf-plugin-nvidia", "python3-dnf"), ("libdnf5-plugin-nvidia", "libdnf5"))
    )
    assert tags(both, "Recommends") == [dnf4, dnf5]
    assert tags(newer, "Recommends") == [dnf5]
    assert tags(older, "Recommends") == [dnf4]
    gate = sample.gate(kmods=Kmods.DKMS, dist=here[1])
    assert "libdnf5-plugin-nvidia < 4:0" in tags(render_gate(gate, kernels, 1, sample.MATRIX).text, "Obsoletes")


def test_the_order_of_kernels_in_the_matrix_does_not_matter() -> None:
    kernels = sample.gate_kernels(sample.K427, sample.K570)
    texts = {render_gate(sample.gate(), k, 1, sample.MATRIX).text for k in (kernels, kernels[::-1])}
    assert len(texts) == 1


def test_a_precompiled_gate_without_any_module_is_refused() -> None:
    with pytest.raises(RenderError, match="nothing to let in"):
        gate_text()


def test_a_distribution_without_boolean_dependencies_is_refused() -> None:
    dist = sample.distribution("el7", delivery=Delivery.BRANCH_PACKAGES)
    with pytest.raises(RenderError, match="not supported yet"):
        render_gate(sample.gate(dist=dist), sample.gate_kernels(sample.K503), 1, sample.MATRIX)


def test_a_gate_says_the_same_where_each_stream_is_a_repository() -> None:
    dist = sample.distribution(delivery=Delivery.BRANCH_REPOS)
    kernels = sample.gate_kernels(sample.K503)
    assert render_gate(sample.gate(dist=dist), kernels, 1, sample.MATRIX) == render_gate(
        sample.gate(), kernels, 1, sample.MATRIX
    )
