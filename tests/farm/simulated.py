"""Dask workers that compile nothing: what a cell's spec says is done instead. Everything around it is the real thing.

A spec is one word and its arguments: ``make``; ``fail``; ``die`` (the worker kills itself); ``wait FOLDER`` (writes
the numbers of the worker and of a child into FOLDER/started, one line a start, and waits for FOLDER/go).
"""

from __future__ import annotations

import os
import signal
import subprocess
from dataclasses import replace
from pathlib import Path

from distributed import Worker

from builder.errors import BuildError
from builder.model.matrix import Chroot, Delivery, Distribution
from builder.model.modules import BuiltModules
from builder.model.sources import Buildroot, SourceFile, SpecFile
from builder.pack import write_modules
from builder.pipeline.compilation import Compilation, Rpmbuild
from builder.pipeline.farm_worker import BuildWorker, join, open_here
from builder.pipeline.orders import Order
from builder.tools.rpms import file_sha256
from builder.tools.run import run

RECIPE = "host 1"  # the host builder's: it is never called
WAITING = 'echo "$2 $$" >>"$1/started"; while [ ! -e "$1/go" ]; do sleep 0.1; done'


class Simulated(BuildWorker):
    """A worker that does what the spec says."""

    def compile(self, order: Order, folder: Path) -> None:
        word, *arguments = order.what.spec.text.split()
        with self.workset(order) as files:
            sizes = [path.stat().st_size for path in sorted((files / "sources").iterdir())]
        if word == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "wait":
            run(["sh", "-c", WAITING, "sh", *arguments, str(os.getpid())], timeout=120)
        if word == "fail":
            logs = self.store.logs(order.what.build.unit_id)
            logs.mkdir(parents=True)
            (logs / "build.log").write_text("hello.c:1: error: no\n")
            raise BuildError("it failed there", details=["hello.c:1: error: no"], log=logs / "build.log")
        (folder / "said").write_text(f"{order.what.key} {sizes}\n")
        built = BuiltModules(key=order.what.key, unit_id=order.what.scope, folder=folder, modules=(), seconds=0.0)
        write_modules(built, folder)


async def dask_setup(worker: Worker) -> None:
    """As ``farm_worker.dask_setup``, in the folder of REPOBUILD_WORKER."""
    here = open_here(Path(os.environ["REPOBUILD_WORKER"]), ("host",))
    await join(worker, Simulated(store=here.store, builders=here.builders, configs=here.configs))


def compilation(
    folder: Path, number: int, words: str = "make", *, source: bytes = b"source", arch: str = ""
) -> Compilation:
    """A cell to be compiled; cells of one ``source`` share it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "source.tar.gz"
    if not path.exists():
        path.write_bytes(source)
    file = SourceFile(filename=path.name, path=path, sha256=file_sha256(path), size=len(source))
    chroot = Chroot(
        name="lab9-x86_64",
        template="lab9.cfg.j2",
        arch=arch or os.uname().machine,
        releasever="9",
        packages=(),
        repositories=(),
    )
    distribution = Distribution(
        name="lab9",
        title="Lab 9",
        platform="lab9",
        dist_tag=".lab9",
        delivery=Delivery.MODULAR,
        arches=(chroot.arch,),
        chroots=(chroot,),
        kernels=(),
    )
    build = Rpmbuild(
        unit_id=f"r535-open@6.1.0-{number}-amd64",
        distribution=distribution,
        arch=chroot.arch,
        buildroot=Buildroot(chroot=chroot, identity="same", packages=("many",) * 1000, path=folder),
        source_date_epoch=0,
        timeout=60.0,
        jobs=1,
    )
    return Compilation(
        key=f"{number:064x}",
        scope=build.unit_id,
        spec=SpecFile(filename="kmod.spec", text=words, sources=(file,)),
        build=build,
        modules=("nvidia",),
        objects=(),
        devel_sha256="0" * 64,
    )


def with_words(what: Compilation, words: str) -> Compilation:
    return replace(what, spec=replace(what.spec, text=words))


def lives(pid: int) -> bool:
    """Does a process live, and not only until its parent looks?"""
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return bool(done.stdout.strip()) and not done.stdout.startswith("Z")
