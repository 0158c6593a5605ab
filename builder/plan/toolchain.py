"""Refuse a cell whose compiler is not its kernel's before anything is built.

NVIDIA's conftest answers wrong for a minute under another compiler before anything fails; the kernel's own devel
package says in no time who built it, and is taken as the truth.
"""

from __future__ import annotations

from collections.abc import Iterable

from builder.model.matrix import Kernel
from builder.model.sources import KernelDevel
from builder.model.toolchain import Generation, generation_of_command, generation_of_text


def toolchain_fault(kernel: Kernel, devel: KernelDevel, packages: Iterable[str] = ()) -> str | None:
    """Why this kernel's modules cannot be built with the compiler of matrix.yaml, None where nothing speaks against it.

    ``packages`` are the lines of the buildroot's package list (``NEVRA digest``), to see what an unversioned command
    such as ``gcc`` is there. Says nothing where the kernel does not record its compiler.
    """
    truth = devel.compiler_text
    if truth is None:
        return None
    built_by = generation_of_text(truth)
    compiler = kernel.compiler
    said = [
        (f"version_text '{compiler.version_text}'", generation_of_text(compiler.version_text or "")),
        (f"command {compiler.command}", generation_of_command(compiler.command)),
        (f"package {compiler.package}", generation_of_command(compiler.package)),
    ]
    wrong = next((what for what, generation in said if generation.contradicts(built_by)), None)
    if wrong is not None:
        return f"compiler mismatch: kernel {kernel.release} was built by '{truth}', but matrix.yaml says {wrong}"
    here = _in_buildroot(compiler.package, packages)
    if here is not None:
        name = generation_of_command(compiler.package)
        if Generation(family=name.family, major=here[1]).contradicts(built_by):
            return f"compiler mismatch: kernel {kernel.release} was built by '{truth}', but the buildroot has {here[0]}"
    return None


def toolchain_hint(kernel: Kernel, devel: KernelDevel) -> str:
    """The way out of a fault."""
    wanted = f"it was built by '{devel.compiler_text}'"
    return (
        f"take compiler from what repobuild kernels prints for {kernel.devel} ({wanted}), "
        "and see that the distribution's buildroot can install that package"
    )


def _in_buildroot(package: str, packages: Iterable[str]) -> tuple[str, int] | None:
    """NEVRA and major version of a compiler package that every root of the distribution holds."""
    for line in packages:
        nevra = line.split(maxsplit=1)[0] if line.strip() else ""
        name, _, rest = nevra.rpartition("-")[0].rpartition("-")
        major = rest.rpartition(":")[2].partition(".")[0]
        if name == package and major.isdigit():
            return nevra, int(major)
    return None
