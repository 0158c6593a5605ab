"""Real NVIDIA drivers: kernel trees, blobs, user-space libraries and GSP firmware from the archive's packages.

Which versions is asked of the archive: for each branch the newest version that all needed packages have.
``python -m tests.lab.drivers real --branch 535 --branch 550 --json`` prints what was made; progress goes to stderr.
"""

from __future__ import annotations

import argparse
import logging
import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path

from builder.errors import ToolError
from builder.tools.run import run
from tests.lab.archive import CACHE, Archive, LabUnavailableError
from tests.lab.lab_patches import patches_of_driver, take_archive_patches
from tests.lab.runfile import LabDriver, cached_run, lab_driver, print_drivers

FORMAT = 3  # of the trees laid out here
TREES = {"proprietary": "kernel", "open": "kernel-open"}
OPEN_SOURCE = "nvidia-open-gpu-kernel-modules"
KERNELS = {"proprietary": "nvidia-kernel-dkms", "open": "nvidia-open-kernel-dkms"}
# Every driver has these; what a user space holds besides depends on what the archive offers at that version.
REQUIRED = {
    "compute": (
        "firmware-nvidia-gsp", "libcuda1", "libnvidia-ml1", "nvidia-smi", "libnvidia-ptxjitcompiler1", "libnvidia-cfg1",
    ),
    "full": (
        "libnvidia-encode1", "libnvcuvid1", "libnvidia-fbc1", "libnvidia-opticalflow1", "libnvidia-allocator1",
        "libglx-nvidia0", "libegl-nvidia0", "libgles-nvidia1", "libgles-nvidia2", "libnvidia-glcore",
        "libnvidia-eglcore", "libnvidia-rtcore", "libnvidia-glvkspirv", "libnvoptix1", "nvidia-opencl-icd",
        "nvidia-opencl-common", "nvidia-vulkan-common", "nvidia-egl-common", "xserver-xorg-video-nvidia",
        "nvidia-vdpau-driver", "nvidia-suspend-common",
    ),
}  # fmt: skip
OFFERED = {
    "compute": ("libnvidia-nvvm4", "libnvidia-nvvm70", "nvidia-cuda-mps"),
    "full": ("libnvidia-gpucomp", "libcudadebugger1", "libnvidia-ngx1", "libnvidia-pkcs11-openssl3", "libnvidia-api1"),
}
# Branches that the archive keeps under names and in folders of their own, beside its current driver.
KEPT = {"470": "tesla-470"}
KEPT_KERNELS = {"proprietary": "nvidia-{kept}-kernel-dkms"}
KEPT_REQUIRED = (
    "libnvidia-{kept}-cuda1", "libnvidia-{kept}-ml1", "nvidia-{kept}-smi", "libnvidia-{kept}-ptxjitcompiler1",
    "libnvidia-{kept}-cfg1", "nvidia-{kept}-kernel-support",
)  # fmt: skip
# Where the archive's packages put the files that NVIDIA's archive has at its top, and the mode there.
_TOP_LEVEL = (
    ("usr/lib/x86_64-linux-gnu/**/*.so.*", 0o755),
    ("usr/lib/nvidia/*/*.so*", 0o755),
    ("usr/lib/x86_64-linux-gnu/nvidia/*/nvoptix.bin", 0o644),
    ("usr/lib/x86_64-linux-gnu/nvidia/*/nvidia/wine/*.dll", 0o644),
    ("usr/lib/nvidia/*/nvidia-[!.]*[!z]", 0o755),
    ("usr/lib/nvidia/*/*.1.gz", 0o644),
    ("usr/*bin/nvidia-cuda-mps-*", 0o755),
    ("usr/share/man/man1/nvidia-cuda-mps-*.1.gz", 0o644),
    ("usr/share/vulkan/*/nvidia_*.json", 0o644),
    ("usr/share/glvnd/egl_vendor.d/10_nvidia.json", 0o644),
    ("etc/OpenCL/vendors/nvidia.icd", 0o644),
    ("etc/nvidia/*/nvidia-drm-outputclass.conf", 0o644),
)
_FOLDERS = (
    ("**/firmware/nvidia/*/gsp*.bin", "firmware", 0o644),
    ("usr/lib/systemd/system/nvidia-*.service", "systemd/system", 0o644),
    ("usr/lib/systemd/system-sleep/nvidia", "systemd/system-sleep", 0o755),
    ("usr/bin/nvidia-sleep.sh", "systemd", 0o755),
)
_log = logging.getLogger(__name__)


def choose_versions(
    archive: Archive, branch: str, required: Sequence[str], offered: Sequence[str] = ()
) -> tuple[str, dict[str, str]]:
    """Newest upstream version of a branch that all required packages have, and each package's own version of it."""
    by_version: dict[str, dict[str, str]] = {}
    for package, found in archive.candidates([*required, *offered]).items():
        for candidate in found:
            upstream = candidate.version.partition("-")[0]
            if upstream.startswith(f"{branch}."):
                by_version.setdefault(upstream, {}).setdefault(package, candidate.version)
    complete = {version: names for version, names in by_version.items() if names.keys() >= set(required)}
    if not complete:
        raise LabUnavailableError(f"the archive has no driver {branch} with all of {', '.join(required)}")
    newest = max(complete, key=lambda v: [int(n) for n in re.findall(r"\d+", v)])
    return newest, complete[newest]


def make_real(
    branches: Sequence[str],
    *,
    cache: Path = CACHE,
    flavors: Sequence[str] = ("proprietary", "open"),
    userspace: str = "compute",
    source: bool = False,
) -> list[LabDriver]:
    """One real driver a branch, newest version first asked of the archive; ``userspace`` is "compute" or "full".

    Where the archive keeps its patches beside a kernel tree, the tree is as NVIDIA's archive has it; what has to be
    applied for the archive's kernels comes with the driver. A branch that the archive keeps under names of its own has
    the flavors there are, and the compute user space. ``source`` also looks for the open modules' source tarball.
    Raises LabUnavailableError for a branch that the archive does not have whole.
    """
    archive = Archive(cache)
    archive.update()
    made = []
    for branch in branches:
        kernels, required, offered = _packages(branch, flavors, userspace)
        version, versions = choose_versions(archive, branch, required, offered)
        specs = [f"{name}={found}" for name, found in versions.items()]
        _log.info("%s: %s, %d packages", branch, version, len(specs))
        debs = archive.download(specs)
        identity = [f"real {FORMAT}", *sorted(d.name for d in debs.values()), *kernels]
        run_path = cached_run(cache, identity, version, partial(_fill, debs=debs, version=version, kernels=kernels))
        origin = "the host archive's " + ", ".join(sorted(specs))
        tarball = open_source(archive, version, versions[KERNELS["open"]], cache) if source else None
        driver = lab_driver(run_path, version, list(kernels), origin, tarball)
        patches = patches_of_driver(branch, run_path.parent / "patches", "; ".join(kernels.values()))
        made.append(replace(driver, patches=patches))
    return made


def _packages(
    branch: str, flavors: Sequence[str], userspace: str
) -> tuple[dict[str, str], tuple[str, ...], tuple[str, ...]]:
    """Kernel packages by flavor, all packages that must be there, and those that are taken where they are."""
    kept = KEPT.get(branch)
    if kept:
        kernels = {f: name.format(kept=kept) for f, name in KEPT_KERNELS.items() if f in flavors}
        return kernels, (*kernels.values(), *(name.format(kept=kept) for name in KEPT_REQUIRED)), ()
    parts = ("compute", "full") if userspace == "full" else ("compute",)
    kernels = {flavor: KERNELS[flavor] for flavor in flavors}
    required = (*kernels.values(), *(p for part in parts for p in REQUIRED[part]))
    return kernels, required, tuple(p for part in parts for p in OFFERED[part])


def open_source(archive: Archive, version: str, package_version: str, cache: Path = CACHE) -> Path | None:
    """The open modules' source tarball by the name NVIDIA gives it; None when the archive cannot deliver it."""
    target = cache / "lab/drivers/source" / f"NVIDIA-kernel-module-source-{version}.tar.xz"
    if target.is_file():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent) as tmp:
        options = ["-qq", "--download-only", "--tar-only"]
        try:
            archive._apt("apt-get", "source", *options, f"{OPEN_SOURCE}={package_version}", cwd=Path(tmp))
        except ToolError as exc:
            # Its index may list a tarball that the archive no longer has.
            _log.warning("%s: no source tarball: %s", version, "; ".join(exc.details))
            return None
        next(Path(tmp).glob(f"{OPEN_SOURCE}_{version}.orig.tar.xz")).rename(target)
    return target


def _fill(tree: Path, debs: dict[str, Path], version: str, kernels: dict[str, str]) -> None:
    """Lay the packages' files out as NVIDIA's archive has them."""
    _log.info("%s: unpacking", version)
    with tempfile.TemporaryDirectory(dir=tree.parent) as tmp:
        root = Path(tmp)
        for name, deb in debs.items():
            place = root / name
            run(["dpkg-deb", "-x", deb, place], timeout=600)
            flavor = next((f for f, package in kernels.items() if package == name), None)
            if flavor is None:
                _userspace(place, tree)
            else:
                _kernel_tree(place, tree / TREES[flavor], flavor)
                take_archive_patches(tree / TREES[flavor], tree.parent / "patches")
        copyrights = sorted(root.glob("libcuda1/usr/share/doc/*/copyright"))
        shutil.copyfile((copyrights or sorted(root.glob("*/usr/share/doc/*/copyright")))[0], tree / "LICENSE")
    if not (tree / f"libcuda.so.{version}").is_file():
        raise LabUnavailableError(f"no package of {version} holds libcuda.so.{version}")


def _kernel_tree(place: Path, target: Path, flavor: str) -> None:
    source = next(p for p in (place / "usr/src").iterdir() if p.is_dir())
    shutil.move(source, target)
    for name in ("dkms.conf", "NVIDIA_Changelog"):
        (target / name).unlink(missing_ok=True)
    if flavor == "open":
        # The archive compiled these with debug information, 173-223 MB of it; NVIDIA's own archive carries none.
        for blob in ("nvidia/nv-kernel.o_binary", "nvidia-modeset/nv-modeset-kernel.o_binary"):
            run(["strip", "--strip-debug", target / blob], timeout=300)


def _userspace(place: Path, tree: Path) -> None:
    wanted = [(pattern, "", mode) for pattern, mode in _TOP_LEVEL] + list(_FOLDERS)
    for pattern, folder, mode in wanted:
        for path in place.glob(pattern):
            if path.is_file() and not path.is_symlink():
                target = tree / folder / path.name
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, target)
                target.chmod(mode)


def main() -> None:
    """Make the drivers asked for and describe them."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.drivers", description=__doc__)
    parser.add_argument("kind", choices=("real",), help="the light ones are made by tests.lab.light")
    parser.add_argument("--branch", action="append", required=True)
    parser.add_argument("--userspace", choices=("compute", "full"), default="compute")
    parser.add_argument("--no-source", action="store_true", help="do not look for the open source tarball")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    drivers = make_real(options.branch, userspace=options.userspace, source=not options.no_source)
    print_drivers(drivers, as_json=options.json)


if __name__ == "__main__":
    main()
