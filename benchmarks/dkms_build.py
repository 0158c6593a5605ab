"""``dkms build`` of a driver's kernel tree in a client root of the lab: what every host with DKMS does for each kernel.

``python -m benchmarks.dkms_build`` measures it once, all five open modules of the real 535 driver (minutes); with
``--light`` the stand-in driver (seconds). It prints JSON; the modules' vermagic is checked, the time is not judged.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.harness import BenchmarkError
from builder.render.kmods import MAKEFILE_MODULES
from builder.tools.run import run
from tests.lab.client import Client, make_client
from tests.lab.distro import LabDistro, make_distro
from tests.lab.drivers import make_real
from tests.lab.kernels import LabKernel
from tests.lab.light import make_light
from tests.lab.runfile import LabDriver

MODULES = ("nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm", "nvidia-peermem")
_TIMEOUT = 4 * 3600.0  # seconds


@dataclass(frozen=True, slots=True, kw_only=True)
class DkmsHost:
    """A client root with one kernel, its build tree, dkms, and a driver's kernel tree that dkms knows."""

    client: Client
    release: str  # uname -r
    version: str  # of the driver
    modules: tuple[str, ...]


def unpack_tree(driver: LabDriver, folder: Path, flavor: str = "open") -> Path:
    """The kernel tree of a .run, unpacked below ``folder`` as its user would."""
    run(["sh", driver.run, "--extract-only", "--target", folder / "run"], timeout=600)
    return folder / "run" / ("kernel-open" if flavor == "open" else "kernel")


def make_dkms_host(
    folder: Path, distro: LabDistro, kernel: LabKernel, tree: Path, version: str, modules: Sequence[str] = MODULES
) -> DkmsHost:
    """Install a client root below ``folder`` and register ``tree`` with a dkms.conf as NVIDIA's installer writes."""
    (host,) = make_dkms_hosts(folder, distro, [kernel], {version: tree}, modules)
    return host


def make_dkms_hosts(
    folder: Path,
    distro: LabDistro,
    kernels: Sequence[LabKernel],
    trees: Mapping[str, Path],
    modules: Sequence[str] = MODULES,
) -> list[DkmsHost]:
    """One client root with several kernels and driver trees (by version): each kernel with each driver."""
    packages = [f"{p.name}-{p.evr}" for kernel in kernels for p in (kernel.core, kernel.devel)]
    wanted = [*packages, "dkms", "gcc", "make", "elfutils-libelf-devel", "openssl"]
    (folder / "none").mkdir()
    client = make_client(folder / "root", distro, folder / "none", wanted)
    for version, tree in trees.items():
        place = client.root / f"usr/src/nvidia-{version}"
        shutil.copytree(tree, place, symlinks=True)
        (place / "dkms.conf").write_text(_configuration(version, modules))
        client.run("dkms", "add", "-m", "nvidia", "-v", version)
    return [
        DkmsHost(client=client, release=kernel.release, version=version, modules=tuple(modules))
        for kernel in kernels
        for version in trees
    ]


def _configuration(version: str, modules: Sequence[str]) -> str:
    excluded = " ".join(m for m in MAKEFILE_MODULES if m not in modules)
    make = f"'make' -j${{parallel_jobs:-1}} NV_EXCLUDE_KERNEL_MODULES='{excluded}' KERNEL_UNAME=${{kernelver}} modules"
    lines = ['PACKAGE_NAME="nvidia"', f'PACKAGE_VERSION="{version}"', 'AUTOINSTALL="yes"', f'MAKE[0]="{make}"']
    for number, module in enumerate(modules):
        lines += [f'BUILT_MODULE_NAME[{number}]="{module}"', f'DEST_MODULE_LOCATION[{number}]="/extra"']
    return "\n".join([*lines, ""])


def dkms_build(host: DkmsHost) -> float:
    """Build the modules once more and return the wall time in seconds: tree copy, make, strip, signing.

    Raises ToolError when dkms fails and BenchmarkError for modules that are not this kernel's.
    """
    name = ["-m", "nvidia", "-v", host.version, "-k", host.release]
    if list((host.client.root / f"var/lib/dkms/nvidia/{host.version}/{host.release}").glob("*")):
        host.client.run("dkms", "unbuild", *name)
    seconds = host.client.run("dkms", "build", *name, timeout=_TIMEOUT).seconds
    for path in built_modules(host):
        found = run(["modinfo", "-F", "vermagic", path], timeout=60).stdout.split()[:1]
        if found != [host.release]:
            raise BenchmarkError(f"dkms built {path.name} for {found}, not for {host.release}")
    return seconds


def built_modules(host: DkmsHost) -> list[Path]:
    """The .ko files of the last build, in the order of the host's modules."""
    folder = host.client.root / f"var/lib/dkms/nvidia/{host.version}/{host.release}/{host.client.distro.arch}/module"
    found = [path for module in host.modules for path in sorted(folder.glob(f"{module}.ko*"))]
    if len(found) != len(host.modules):
        raise BenchmarkError(f"dkms made {[p.name for p in found]} instead of {list(host.modules)}")
    return found


@click.command()
@click.option("--light", is_flag=True, help="The stand-in driver: seconds instead of minutes.")
@click.option("--modules", default=",".join(MODULES), show_default=True, metavar="NAME,…")
def main(*, light: bool, modules: str) -> None:
    """Measure ``dkms build`` of the open 535 modules on the lab's first kernel, once."""
    (driver,) = make_light(("535.261.03",)) if light else make_real(("535",))
    distro = make_distro()
    with tempfile.TemporaryDirectory(prefix="repobuild-dkms-") as tmp:
        tree = unpack_tree(driver, Path(tmp))
        kernel = distro.kernels[0]
        host = make_dkms_host(Path(tmp), distro, kernel, tree, driver.version, modules.split(","))
        load = round(os.getloadavg()[0], 1)
        seconds = round(dkms_build(host), 1)
        sizes = {path.name: path.stat().st_size for path in built_modules(host)}  # bytes
    told = {"driver": driver.version, "origin": driver.origin, "kernel": kernel.release, "load": load}
    click.echo(json.dumps({**told, "seconds": seconds, "bytes": sizes}, indent=1))


if __name__ == "__main__":
    main()
