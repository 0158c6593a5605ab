"""Cells of one kernel with remembered answers of conftest against plain ``make modules`` of the same trees.

Runs on this host, without a buildroot: only what make does is compared. Both sides' modules must be the same bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Collection, Sequence
from contextlib import ExitStack
from functools import cache, partial
from pathlib import Path

from benchmarks.harness import Benchmark, Clock, Sides
from benchmarks.lab import lab
from builder.tools.machine import processors
from tests.lab.drivers import make_real
from tests.lab.kernels import LabKernel
from tests.lab.make_tree import Made, driver_trees, kernel_tree, make_modules

_FIRST = ("535", "open")  # what the further cells find remembered
_NOTE = (
    "repobuild's time is make with what is done for the answers of conftest (reading kernel and compiler, asking or "
    "remembering, collecting); the peer's is make alone. No buildroot on either side; modules are compared as bytes."
)


def _kernel() -> LabKernel:
    return next(kernel for kernel in lab().kernels if kernel.variant == "generic")


def _made(place: Path, branch: str, flavor: str, modules: tuple[str, ...], answers: bytes | None) -> Made:
    """One cell below a fresh folder."""
    (driver,) = make_real((branch,))
    kernel = _kernel()
    devel = place.parent / "kernel"
    tree = devel / kernel.devel_path.lstrip("/")
    if not devel.is_dir():
        tree = kernel_tree(lab(), kernel, devel)
    trees = place.parent / f"trees-{branch}"
    if not trees.is_dir():
        driver_trees(driver, trees)
    source = trees / ("kernel" if flavor == "proprietary" else "kernel-open")
    return make_modules(source, tree, kernel, place, modules=modules, jobs=processors(), answers=answers)


@cache
def _remembered(modules: tuple[str, ...]) -> bytes:
    """What the first cell of the kernel leaves; where its trees lay does not matter to the next."""
    with tempfile.TemporaryDirectory(prefix="repobuild-bench-") as tmp:
        return _made(Path(tmp) / "first", *_FIRST, modules, b"").answers


def _prepare(
    tmp: Path, stack: ExitStack, *, branch: str, flavor: str, modules: tuple[str, ...], further: bool
) -> Sides:
    place = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=tmp)))
    answers = _remembered(modules) if further else b""

    def side(folder: Path, clock: Clock, *, given: bytes | None) -> Collection[str]:
        target = place / folder.name
        made = _made(target, branch, flavor, modules, given)
        shutil.rmtree(target)
        clock.add(made.seconds)
        return [*(f"{name} {digest}" for name, digest in made.digests.items()), *made.headers.values()]

    return Sides(ours=partial(side, given=answers), peer=partial(side, given=None))


def conftest_cells(modules: Sequence[str]) -> tuple[Benchmark, ...]:
    """The first cell of a kernel, another flavor and another branch of it: all five modules or those named."""
    what = ", ".join(modules) or "all five modules"

    def benchmark(name: str, work: str, branch: str, flavor: str, *, further: bool) -> Benchmark:
        prepare = partial(_prepare, branch=branch, flavor=flavor, modules=tuple(modules), further=further)
        return Benchmark(name=name, work=f"{work}, {what}", peer="make modules", note=_NOTE, prepare=prepare, runs=1)

    return (
        benchmark("conftest-first", "NVIDIA 535 open, a kernel's first cell", *_FIRST, further=False),
        benchmark("conftest-flavor", "NVIDIA 535 proprietary after open", "535", "proprietary", further=True),
        benchmark("conftest-branch", "NVIDIA 550 open after 535 open", "550", "open", further=True),
    )
