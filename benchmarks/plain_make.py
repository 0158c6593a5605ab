"""Plain ``make modules`` of a driver's kernel tree over a base root: the peer of a cell's build.

``plain_make`` starts this module again inside the namespaces that a build has: there the same overlay
is mounted, the build requirements are installed and the tree is unpacked; only make is timed.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import tarfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from builder.build.job import CACHE, ROOT, BuildJob, read_build_job, write_job
from builder.tools.confine import namespaces
from builder.tools.dnf import Dnf
from builder.tools.mounts import api_filesystems, overlay, tmpfs
from builder.tools.run import run

_UID = 1000
_HOME = "/builddir"
_TREE = f"{_HOME}/tree"


@dataclass(frozen=True, slots=True, kw_only=True)
class MakeJob:
    """What make needs beside the buildroot."""

    requirements: Sequence[str]
    tree: str  # tarball of the kernel tree
    devel: str  # inside the root
    release: str  # uname -r
    compiler: str
    modules: Sequence[str]
    excluded: Sequence[str]


def plain_make(root: BuildJob, make: MakeJob, tmp: Path) -> float:
    """Make the modules and copy the .ko files to the job's resultdir; returns make's seconds.

    Raises ToolError with the end of what was said when anything fails.
    """
    path = tmp / "job.json"
    write_job(root, path)
    (tmp / "make.json").write_text(json.dumps(asdict(make)))
    inside = [sys.executable, "-m", "benchmarks.plain_make", str(path)]
    place = Path(__file__).resolve().parent.parent
    run([*namespaces(network=False), *inside], timeout=root.timeout, cwd=place, log=tmp / "inner.log")
    return float((tmp / "seconds").read_text())


def _inside(path: Path) -> None:
    job = read_build_job(path)
    document = json.loads(path.with_name("make.json").read_text())
    make = MakeJob(**document)
    root = _mount(job)
    folder = job.work / "dnf"
    shutil.copytree(job.base / CACHE / "cache", folder / "cache", copy_function=os.link)
    dnf = Dnf(job.chroot, folder, fresh=False)
    dnf.install(root, make.requirements, timeout=job.timeout, log=job.resultdir / "root.log")
    home = Path(f"{root}{_HOME}")
    home.mkdir(exist_ok=True)
    with tarfile.open(make.tree) as archive:
        top = archive.getnames()[0].split("/")[0]
        archive.extractall(home, filter="data")
    (home / top).rename(home / "tree")
    run(["chown", "-R", f"{_UID}:{_UID}", home], timeout=600)
    seconds = _make(job, make, root)
    for module in make.modules:
        shutil.copyfile(home / f"tree/{module}.ko", job.resultdir / f"{module}.ko")
    path.with_name("seconds").write_text(str(seconds))


def _mount(job: BuildJob) -> Path:
    """The root of a build: an overlay in as much memory as the builder may use, or on the disk."""
    scratch, root = job.work / "s", job.work / "r"
    scratch.mkdir()
    root.mkdir()
    if job.tmpfs_size:
        tmpfs(scratch, mode="755", size=job.tmpfs_size)
    for name in ("u", "w"):
        (scratch / name).mkdir()
    overlay((job.base / ROOT,), scratch / "u", scratch / "w", root)
    api_filesystems(root)
    return root


def _make(job: BuildJob, make: MakeJob, root: Path) -> float:
    source = f"{make.devel}/source"  # of a split build tree
    if run(["chroot", root, "test", "-d", source], timeout=60, ok=(0, 1)).returncode:
        source = make.devel
    words = [f"-j{job.jobs}", f"SYSSRC={source}", f"SYSOUT={make.devel}", f"KERNEL_UNAME={make.release}"]
    words += [f"CC={make.compiler}", f"NV_EXCLUDE_KERNEL_MODULES={' '.join(make.excluded)}"]
    words += ["CONFIG_DEBUG_INFO_BTF_MODULES=", "modules"]  # and otherwise as the installer and dkms call it
    environment = [f"HOME={_HOME}", "PATH=/usr/bin:/bin:/usr/sbin:/sbin", "LANG=C.UTF-8"]
    enter: list[str | Path] = [
        "chroot",
        f"--userspec={_UID}:{_UID}",
        "--groups=",
        root,
        "/usr/bin/env",
        "-i",
        *environment,
    ]
    log = job.resultdir / "build.log"
    return run([*enter, "make", "-C", _TREE, *words], timeout=job.timeout, log=log).seconds


if __name__ == "__main__":
    os.umask(0o022)
    _inside(Path(sys.argv[1]))
