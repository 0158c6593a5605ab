"""What templates yield is compared with golden files, so that a change of a template is seen as what it changes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from builder.render.templates import template_folder
from tests.golden.rendered import MOCK_CONFIGS, SPECS

FILES = Path(__file__).parent / "files"


def check(name: str, text: str) -> None:
    file = FILES / name
    if os.environ.get("REPOBUILD_GOLDEN") == "write":
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    hint = "if the change is meant: REPOBUILD_GOLDEN=write pytest tests/golden, then read the diff"
    assert file.is_file(), hint
    assert text == file.read_text(), hint


@pytest.mark.parametrize("name", sorted(SPECS))
def test_a_spec_is_its_golden_file(name: str) -> None:
    check(name, SPECS[name]().text)


@pytest.mark.parametrize("name", sorted(MOCK_CONFIGS))
def test_a_mock_configuration_is_its_golden_file(name: str) -> None:
    check(name, MOCK_CONFIGS[name]())


def test_every_template_has_a_golden_file() -> None:
    specs = {p.name for p in template_folder("specs").glob("*.spec.j2")}
    assert specs == {
        "kmod-nvidia.spec.j2",
        "kmod-nvidia-stream.spec.j2",
        "nvidia-modules.spec.j2",
        "nvidia-kmod-objects.spec.j2",
        "nvidia-open-tree.spec.j2",
        "dnf-plugin-nvidia.spec.j2",
        "libdnf5-plugin-nvidia.spec.j2",
        "nvidia-kmod-certificate.spec.j2",
        "nvidia-kmod-common.spec.j2",
        "nvidia-driver.spec.j2",
        "dkms-nvidia.spec.j2",
        "cuda-drivers.spec.j2",
        "nvidia-open.spec.j2",
        "nvidia-driver-release.spec.j2",
        "nvidia-driver-stream-release.spec.j2",
        "nvidia-repository-release.spec.j2",
        "nvidia-archive.spec.j2",
        "nvidia-open-kernel-source.spec.j2",
    }
    configs = {p.name.removesuffix(".j2") for p in template_folder("mock-configs").glob("[!_]*.j2")}
    assert configs <= set(MOCK_CONFIGS)


def test_no_golden_file_is_left_over() -> None:
    assert {p.name for p in FILES.iterdir()} == {*SPECS, *MOCK_CONFIGS}
