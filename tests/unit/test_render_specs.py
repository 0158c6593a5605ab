"""What may and may not stand in a spec."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from builder.errors import RenderError
from builder.model.cells import PackageKind
from builder.model.matrix import Driver, Flavor, Kernel
from builder.render import (
    render_compat32,
    render_cuda_drivers,
    render_dkms,
    render_driver,
    render_kmod,
    render_mock_config,
    render_modules,
)
from builder.render.templates import fill_spec
from tests.golden import sample


def kmod_text(kernel: Kernel = sample.K503, driver: Driver = sample.D535, **changes: Any) -> str:
    dist = sample.distribution(**changes)
    return render_kmod(sample.cell(kernel, driver, dist=dist), sample.sources(driver), sample.MATRIX).text


def test_a_percent_sign_in_a_value_is_no_macro() -> None:
    matrix = replace(sample.MATRIX, vendor="50% of %{nil}")
    text = render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS), matrix).text
    assert "50%% of %%{nil}" in text


def test_a_line_break_in_a_value_cannot_add_a_tag() -> None:
    matrix = replace(sample.MATRIX, vendor="x\nRequires: evil")
    with pytest.raises(RenderError, match="control character"):
        render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS), matrix)


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("release", "6.1 rm -rf"),
        ("release", "6.1~rc1"),
        ("devel_path", "/usr/src/$(id)"),
        ("devel_path", "/usr/../../etc"),
    ],
)
def test_a_kernel_value_that_a_shell_or_rpm_would_misread_is_refused(field: str, value: str) -> None:
    change: dict[str, Any] = {field: value}
    with pytest.raises(RenderError):
        kmod_text(replace(sample.K503, **change))


def test_a_value_that_a_template_misses_is_named() -> None:
    with pytest.raises(RenderError, match="payload"):
        fill_spec("cuda-drivers.spec.j2")


def test_an_unknown_template_is_an_error_that_names_it() -> None:
    with pytest.raises(RenderError, match=r"no\.spec\.j2"):
        fill_spec("no.spec.j2")


@pytest.mark.parametrize("payload", ["zstd", "w3", "w3.zstdio; %(id)"])
def test_a_payload_that_rpm_does_not_know_is_refused(payload: str) -> None:
    with pytest.raises(RenderError, match="payload"):
        kmod_text(payload=payload)


def test_a_flavor_that_the_archive_does_not_have_is_refused_with_the_way_out() -> None:
    with pytest.raises(RenderError, match="no open kernel tree") as caught:
        render_modules(sample.cell(d=sample.D470), sample.sources(sample.D470), sample.MATRIX)
    assert "matrix.yaml" in (caught.value.hint or "")


def test_modules_that_are_not_asked_for_are_excluded_from_the_build() -> None:
    cell = sample.cell(d=replace(sample.D535, modules=("nvidia", "nvidia-peermem")))
    text = render_modules(cell, sample.sources(), sample.MATRIX).text
    assert 'NV_EXCLUDE_KERNEL_MODULES="nvidia-uvm nvidia-vgpu-vfio nvidia-modeset nvidia-drm"' in text
    assert "nvidia-uvm.ko" not in text


def test_a_driver_without_modules_is_refused() -> None:
    with pytest.raises(RenderError, match="no kernel module"):
        kmod_text(driver=replace(sample.D535, modules=()))


def test_sources_of_another_version_are_refused() -> None:
    with pytest.raises(RenderError, match="sources are of 550"):
        render_driver(sample.unit(PackageKind.DRIVER), sample.sources(sample.D550), sample.MATRIX)


def test_a_compute_only_archive_yields_no_libs_package_and_nobody_requires_it() -> None:
    entries = tuple(e for e in sample.manifest("535.261.03") if e.type in {"CUDA_LIB", "UTILITY_BINARY"})
    unit = sample.unit(PackageKind.DRIVER)
    text = render_driver(unit, sample.sources(entries=entries), sample.MATRIX).text
    assert "nvidia-driver-libs" not in text
    assert "%package -n nvidia-driver-cuda\n" in text


def test_a_driver_with_open_modules_has_a_firmware_package_even_without_firmware() -> None:
    entries = tuple(e for e in sample.manifest("535.261.03") if e.type != "FIRMWARE")
    unit = sample.unit(PackageKind.DRIVER)
    assert "%package -n nvidia-firmware" in render_driver(unit, sample.sources(entries=entries), sample.MATRIX).text
    old = replace(sample.sources(sample.D470), manifest=entries)
    text = render_driver(sample.unit(PackageKind.DRIVER, sample.D470), old, sample.MATRIX).text
    assert "nvidia-firmware" not in text


def test_the_branch_name_of_cuda_drivers_is_a_capability() -> None:
    text = render_cuda_drivers(sample.unit(PackageKind.CUDA_DRIVERS), sample.MATRIX).text
    assert "Provides:       cuda-drivers-535 = " in text
    assert "%package" not in text


def test_a_dkms_package_needs_a_flavor() -> None:
    with pytest.raises(RenderError, match="needs a flavor"):
        render_dkms(sample.unit(PackageKind.DKMS), sample.sources(), sample.MATRIX)


def test_no_clock_stands_in_any_spec() -> None:
    for text in (
        kmod_text(),
        render_dkms(sample.unit(PackageKind.DKMS, flavor=Flavor.OPEN), sample.sources(), sample.MATRIX).text,
    ):
        assert "%changelog" not in text


@pytest.mark.parametrize("bad", ['a"""', "a {{ evil }}", "a\nb", "a\\"])
def test_a_value_that_mock_would_expand_is_refused(bad: str) -> None:
    dist = sample.distribution()
    chroot = replace(dist.chroots[0], packages=(bad,))
    with pytest.raises(RenderError, match="mock configuration"):
        render_mock_config(chroot, dist)


@pytest.mark.parametrize("name", ["el7", "el8", "el9", "el10", "fedora"])
def test_a_mock_configuration_is_python_that_sets_what_mock_reads(name: str) -> None:
    dist = sample.distribution(name)
    options: dict[str, object] = {"macros": {}}
    exec(compile(render_mock_config(dist.chroots[0], dist), name, "exec"), {"config_opts": options})
    assert options["root"] == f"repobuild-{name}-x86_64"
    assert options["macros"] == {"%dist": f".{name}", "%vendor": "Example 100%"}
    conf = options["yum.conf" if name == "el7" else "dnf.conf"]
    assert isinstance(conf, str)
    assert ("module_platform_id" in conf) is (name not in ("el7", "fedora"))
    assert "baseurl=file:///srv/kernels\nenabled=1\ngpgcheck=0" in conf


def test_an_unknown_mock_template_is_an_error_that_names_it() -> None:
    dist = sample.distribution()
    with pytest.raises(RenderError, match="suse"):
        render_mock_config(replace(dist.chroots[0], template="suse.cfg.j2"), dist)


def test_an_archive_without_32_bit_libraries_has_no_such_packages_and_promises_none() -> None:
    entries = tuple(e for e in sample.manifest("535.261.03") if e.arch != "COMPAT32")
    sources = sample.sources(entries=entries)
    assert "x86-32" not in render_driver(sample.unit(PackageKind.DRIVER), sources, sample.MATRIX).text
    with pytest.raises(RenderError, match="no 32-bit libraries"):
        render_compat32(sample.unit(PackageKind.COMPAT32), sources, sample.MATRIX)
