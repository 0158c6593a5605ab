"""Real NVIDIA drivers: kernel trees, blobs, user-space libraries and GSP firmware from the archive's packages.

Which versions is asked of the archive: for each branch the newest version that all needed packages have.
``python -m tests.lab.drivers --branch 535 --branch 550`` prints what was made as JSON.
"""

from __future__ import annotations

import argparse
import json
import re
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import CACHE, Archive, LabUnavailableError
from tests.lab.runfile import LabDriver, cached_run

FORMAT = 2  # of the trees laid out here
OPEN, PROPRIETARY = "nvidia-open-kernel-dkms", "nvidia-kernel-dkms"
COMPUTE = (
    "firmware-nvidia-gsp", "libcuda1", "libnvidia-ml1", "nvidia-smi", "libnvidia-ptxjitcompiler1", "libnvidia-cfg1",
)  # fmt: skip
FULL = ("libnvidia-nvvm4", "libnvidia-encode1", "libnvcuvid1")
_BLOBS = ("nvidia/nv-kernel.o_binary", "nvidia-modeset/nv-modeset-kernel.o_binary")


def choose_versions(archive: Archive, branch: str, packages: Sequence[str]) -> tuple[str, dict[str, str]]:
    """Newest upstream version of a branch that all packages have, and each package's own version of it."""
    offered: dict[str, dict[str, str]] = {}
    for package, found in archive.candidates(packages).items():
        for candidate in found:
            upstream = candidate.version.partition("-")[0]
            if upstream.startswith(f"{branch}."):
                offered.setdefault(upstream, {}).setdefault(package, candidate.version)
    complete = {version: by_name for version, by_name in offered.items() if len(by_name) == len(packages)}
    if not complete:
        raise LabUnavailableError(f"the archive has no driver {branch} with all of {', '.join(packages)}")
    newest = max(complete, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    return newest, complete[newest]


def make_real(
    branches: Sequence[str],
    *,
    cache: Path = CACHE,
    flavors: Sequence[str] = ("proprietary", "open"),
    userspace: str = "compute",
) -> list[LabDriver]:
    """One real driver a branch, newest version first asked of the archive; ``userspace`` is "compute" or "full"."""
    archive = Archive(cache)
    archive.update()
    kernels = {"proprietary": PROPRIETARY, "open": OPEN}
    packages = [*(kernels[f] for f in flavors), *COMPUTE, *(FULL if userspace == "full" else ())]
    made = []
    for branch in branches:
        version, versions = choose_versions(archive, branch, packages)
        specs = [f"{name}={found}" for name, found in versions.items()]
        debs = archive.download(specs)
        identity = [f"real {FORMAT}", *sorted(d.name for d in debs.values()), *flavors]
        archive_path = cached_run(cache, identity, version, lambda tree, d=debs, v=version: _fill(tree, d, v))
        made.append(
            LabDriver(
                branch=branch,
                version=version,
                run=archive_path,
                flavors=tuple(flavors),
                origin="the host archive's " + ", ".join(sorted(specs)),
            )
        )
    return made


def _fill(tree: Path, debs: dict[str, Path], version: str) -> None:
    """Lay the packages' files out as NVIDIA's archive has them."""
    with tempfile.TemporaryDirectory(dir=tree.parent) as tmp:
        root = Path(tmp)
        for name, deb in debs.items():
            place = root / name
            run(["dpkg-deb", "-x", deb, place], timeout=600)
            if name in (OPEN, PROPRIETARY):
                _kernel_tree(place, tree / ("kernel-open" if name == OPEN else "kernel"))
            else:
                _userspace(place, tree)
        shutil.copyfile(root / "libcuda1/usr/share/doc/libcuda1/copyright", tree / "LICENSE")
    if not (tree / f"libcuda.so.{version}").is_file():
        raise LabUnavailableError(f"libcuda1 of {version} does not hold libcuda.so.{version}")


def _kernel_tree(place: Path, target: Path) -> None:
    source = next(p for p in (place / "usr/src").iterdir() if p.is_dir())
    shutil.move(source, target)
    for name in ("dkms.conf", "NVIDIA_Changelog"):
        (target / name).unlink(missing_ok=True)
    for blob in _BLOBS:
        # The archive builds the open ones with debug information, which NVIDIA's own archive does not carry.
        run(["strip", "--strip-debug", "--enable-deterministic-archives", target / blob], timeout=300)


def _userspace(place: Path, tree: Path) -> None:
    for library in place.glob("usr/lib/x86_64-linux-gnu/**/*.so.*"):
        if library.is_file() and not library.is_symlink():
            shutil.copyfile(library, tree / library.name)
            (tree / library.name).chmod(0o755)
    for firmware in place.glob("**/firmware/nvidia/*/gsp_*.bin"):
        (tree / "firmware").mkdir(exist_ok=True)
        shutil.copyfile(firmware, tree / "firmware" / firmware.name)
    for program in place.glob("usr/lib/nvidia/current/nvidia-*"):
        shutil.copyfile(program, tree / program.name)
        (tree / program.name).chmod(0o644 if program.suffix == ".gz" else 0o755)


def main() -> None:
    """Make the drivers asked for and describe them."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.drivers", description=__doc__)
    parser.add_argument("--branch", action="append", required=True)
    parser.add_argument("--userspace", choices=("compute", "full"), default="compute")
    options = parser.parse_args()
    drivers = make_real(options.branch, userspace=options.userspace)
    json.dump([{**asdict(d), "run": str(d.run)} for d in drivers], sys.stdout, indent=1)


if __name__ == "__main__":
    main()
