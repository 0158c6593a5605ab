"""Make a driver's kernel tree for a lab kernel on this very host: plainly, or with remembered answers of conftest."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from builder.render.kmods import MAKEFILE_MODULES
from builder.tools.rpms import file_sha256
from builder.tools.run import run
from tests.lab.distro import LabDistro
from tests.lab.drivers import TREES
from tests.lab.kernels import LabKernel
from tests.lab.runfile import LabDriver

SHIM = Path(__file__).resolve().parents[2] / "specs/nvidia-conftest-cache.sh"
_TIMEOUT = 4 * 3600.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """Modules that make left, and what conftest found out for them."""

    digests: Mapping[str, str]  # sha256 by file name of the .ko
    headers: Mapping[str, str]  # what conftest/*.h hold
    seconds: float  # of make, and of what was done for the answers
    answers: bytes  # that the build used; nothing without answers
    asked: int  # questions that went to the compiler


def kernel_tree(lab: LabDistro, kernel: LabKernel, target: Path) -> Path:
    """Unpack a kernel's devel package below ``target``; returns its build tree."""
    target.mkdir(parents=True)
    rpm = next(lab.repository.glob(f"{kernel.devel.name}-{kernel.devel.evr}.*.rpm"))
    link = target / "devel.rpm"
    link.symlink_to(rpm)
    run(["rpm2archive", "-n", link], timeout=600)
    run(["tar", "-xf", f"{link}.tar", "-C", target], timeout=600)
    Path(f"{link}.tar").unlink()
    return target / kernel.devel_path.lstrip("/")


def driver_trees(driver: LabDriver, target: Path) -> dict[str, Path]:
    """Unpack a driver archive; its kernel trees by flavor."""
    run(["sh", driver.run, "--extract-only", "--target", target], timeout=900)
    return {flavor: target / TREES[flavor] for flavor in driver.flavors}


def make_modules(
    tree: Path,
    devel: Path,
    kernel: LabKernel,
    place: Path,
    *,
    modules: Collection[str] = (),
    jobs: int,
    answers: bytes | None = None,
) -> Made:
    """Copy a tree to ``place`` and make its modules there (all when none are named), as a cell's spec does.

    ``answers`` None: plainly. Raises ToolError.
    """
    shutil.copytree(tree, place, symlinks=True)
    state, given, output = (place.with_name(f"{place.name}.{n}") for n in ("state", "given", "answers"))
    compiler = kernel.compiler_command
    excluded = " ".join(m for m in MAKEFILE_MODULES if modules and m not in modules)
    words = [f"-j{jobs}", f"SYSSRC={devel}", f"SYSOUT={devel}", f"KERNEL_UNAME={kernel.release}", f"CC={compiler}"]
    words += [f"NV_EXCLUDE_KERNEL_MODULES={excluded}", "CONFIG_DEBUG_INFO_BTF_MODULES="]
    words += [f"KCFLAGS=-g0 -ffile-prefix-map={place}=.", "modules"]
    given.write_bytes(answers or b"")
    told, remembered = "", {}
    started = time.monotonic()
    if answers is not None:
        run(["sh", SHIM, "prepare", state, place, devel, devel, compiler, given, f"-j{jobs}"], timeout=_TIMEOUT)
        words.append(f"REPOBUILD_CONFTEST={state}/conftest.mk")
        remembered = {"MAKEFILES": f"{state}/flags.mk"}
    run(["make", *words], cwd=place, timeout=_TIMEOUT, env={"PATH": os.environ["PATH"], **remembered})
    if answers is not None:
        told = run(["sh", SHIM, "collect", state, output], timeout=60).stdout
    seconds = time.monotonic() - started
    asked = re.search(r"(\d+) asked", told)
    return Made(
        digests={path.name: file_sha256(path) for path in sorted(place.glob("*.ko"))},
        headers={path.name: path.read_text() for path in sorted((place / "conftest").glob("*.h"))},
        seconds=seconds,
        answers=output.read_bytes() if answers is not None else b"",
        asked=int(asked[1]) if asked else 0,
    )
