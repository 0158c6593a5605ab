"""A cell is refused before any build when its kernel was built by another compiler than matrix.yaml names."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.matrix import Compiler, Kernel
from builder.model.sources import KernelDevel
from builder.model.toolchain import Generation, generation_of_command, generation_of_text
from builder.plan.toolchain import toolchain_fault, toolchain_hint
from tests.golden import sample

GCC12 = "gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0"
GCC14 = "x86_64-linux-gnu-gcc-14 (Debian 14.2.0-19) 14.2.0"
EL9 = "gcc (GCC) 11.5.0 20240719 (Red Hat 11.5.0-5)"
CLANG = "clang version 18.1.8 (Red Hat 18.1.8-3.el10)"


def kernel(package: str, command: str | None = None, text: str | None = None) -> Kernel:
    return replace(sample.K503, compiler=Compiler(package=package, command=command or package, version_text=text))


def devel(text: str | None) -> KernelDevel:
    return KernelDevel(release=sample.K503.release, sha256="0" * 64, symvers=Path("/nowhere"), compiler_text=text)


@pytest.mark.parametrize(
    ("text", "family", "major"),
    [
        (GCC12, "gcc", 12),
        (GCC14, "gcc", 14),
        (EL9, "gcc", 11),
        ("gcc (GCC) 8.5.0 20210514 (Red Hat 8.5.0-22)", "gcc", 8),
        ("gcc (Ubuntu 11.4.0-1ubuntu1~22.04) 11.4.0", "gcc", 11),
        ("gcc (SUSE Linux) 7.5.0", "gcc", 7),
        ("aarch64-linux-gnu-gcc (GCC) 14.2.1 20250110 (Red Hat 14.2.1-7)", "gcc", 14),
        (CLANG, "clang", 18),
        ("Debian clang version 14.0.6", "clang", 14),
        ("gcc-12 12.2.0", "gcc", 12),
        ("tcc version 0.9.27", None, 0),
        ("something else", None, None),
        ("", None, None),
    ],
)
def test_family_and_generation_are_read_from_what_a_compiler_says_of_itself(
    text: str, family: str | None, major: int | None
) -> None:
    assert generation_of_text(text) == Generation(family=family, major=major)


@pytest.mark.parametrize(
    ("name", "family", "major"),
    [
        ("gcc", "gcc", None),
        ("gcc-12", "gcc", 12),
        ("x86_64-linux-gnu-gcc-14", "gcc", 14),
        ("clang", "clang", None),
        ("clang-18", "clang", 18),
        ("gcc-4.8", "gcc", 4),
        ("gcc-toolset-13-gcc", "gcc", None),
        ("/opt/rh/gcc-toolset-13/root/usr/bin/gcc", "gcc", None),
        ("/usr/bin/gcc-12", "gcc", 12),
        ("cc", None, None),
        ("gccgo-12", None, None),
    ],
)
def test_a_command_promises_no_more_than_its_name(name: str, family: str | None, major: int | None) -> None:
    assert generation_of_command(name) == Generation(family=family, major=major)


@pytest.mark.parametrize(
    ("given", "text"),
    [
        (kernel("gcc-12", text=GCC12), GCC12),
        (kernel("gcc-14"), GCC14),
        (kernel("gcc"), EL9),  # an unversioned command is no lie
        (kernel("gcc", text="gcc (GCC) 11.4.1 20231218 (Red Hat 11.4.1-3)"), EL9),  # same generation
        (kernel("clang"), CLANG),
        (kernel("gcc-toolset-13-gcc", "gcc"), "gcc (GCC) 13.3.1 20240611 (Red Hat 13.3.1-2)"),
        (kernel("gcc-12"), None),  # the kernel records nothing
        (kernel("gcc-12"), "something else"),
    ],
)
def test_a_toolchain_that_nothing_speaks_against_is_no_fault(given: Kernel, text: str | None) -> None:
    assert toolchain_fault(given, devel(text)) is None


@pytest.mark.parametrize(
    ("given", "text", "says"),
    [
        (kernel("gcc-12"), GCC14, "command gcc-12"),
        (kernel("gcc-12", "gcc"), GCC14, "package gcc-12"),
        (kernel("gcc", "gcc-12"), GCC14, "command gcc-12"),
        (kernel("gcc-14", text=GCC12), GCC14, f"version_text '{GCC12}'"),
        (kernel("gcc"), CLANG, "command gcc"),
        (kernel("clang-18"), EL9, "command clang-18"),
    ],
)
def test_a_fault_has_the_words_of_both_compilers(given: Kernel, text: str, says: str) -> None:
    release = sample.K503.release
    expected = f"compiler mismatch: kernel {release} was built by '{text}', but matrix.yaml says {says}"
    assert toolchain_fault(given, devel(text)) == expected


def test_an_unversioned_compiler_is_compared_by_the_package_that_the_buildroot_has() -> None:
    packages = ("gcc-12-12.2.0-14.lab9.x86_64 aa", "gcc-8.5.0-22.el8_10.x86_64 bb", "libgcc-8.5.0-22.el8_10.x86_64 cc")
    fault = toolchain_fault(kernel("gcc"), devel(EL9), packages)
    assert fault is not None
    assert fault.endswith(f"was built by '{EL9}', but the buildroot has gcc-8.5.0-22.el8_10.x86_64")
    assert toolchain_fault(kernel("gcc"), devel(EL9), ("gcc-0:11.5.0-5.el9.x86_64 aa",)) is None
    assert toolchain_fault(kernel("gcc"), devel(EL9), ("make-4.3-8.el9.x86_64 aa", "")) is None


def test_the_way_out_names_the_compiler_that_is_wanted() -> None:
    hint = toolchain_hint(kernel("gcc-12"), devel(GCC14))
    assert hint == (
        f"take compiler from what repobuild kernels prints for {sample.K503.devel} (it was built by '{GCC14}'), "
        "and see that the distribution's buildroot can install that package"
    )
