"""A Dask worker that compiles cells: ``dask worker … --preload builder.pipeline.farm_worker``.

It has a work folder of its own (base roots, sources), tells the scheduler what it can do as Dask resources, and stops
a build as soon as nobody wants it any more: cancelled, the run that ordered it gone, the worker closed.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any

import click
from distributed import Reschedule, Worker, WorkerPlugin, get_worker

from builder.build import Builder, open_builder
from builder.build.chroot import require_root
from builder.build.memory import spare_memory
from builder.errors import InterruptedRunError, LockedError, RepobuildError, RepositoryError, StoreError
from builder.model.matrix import Chroot
from builder.model.sources import Buildroot
from builder.pipeline.compilation import compile_into
from builder.pipeline.events import ignore
from builder.pipeline.orders import Order, Reply, as_message, failed_of, identity, topic_of, with_workset
from builder.pipeline.shared_builder import SharedBuilder
from builder.pipeline.workers import Slot, in_slot
from builder.store import SharedStore, Store, open_place
from builder.tools.garbage import look_rarely
from builder.tools.machine import available_memory
from builder.tools.run import stop
from builder.tools.supervise import Supervision

NAME = "repobuild"
_WORKERS = 256  # of one machine; one with as many threads as builds at a time is better, it has one base root
_KEPT = 16  # worksets that stay when nobody uses them
_BUILDERS = ("chroot", "mock")  # that are looked for; host only when named


@dataclass(eq=False)
class BuildWorker(WorkerPlugin):
    """What a worker process has for its builds, and who stops them."""

    store: Store
    builders: dict[str, Builder]  # by recipe
    configs: dict[Chroot, str] = field(default_factory=dict)  # mock's
    roots: dict[tuple[Chroot, str], Buildroot] = field(default_factory=dict)  # by chroot and identity
    running: dict[str, Supervision] = field(default_factory=dict)  # by task key
    closing: bool = False
    used: dict[str, int] = field(default_factory=dict)  # builds that use a workset
    places: dict[str, SharedStore] = field(default_factory=dict)  # by URL
    replies: dict[str, tuple[str, Reply]] = field(default_factory=dict)  # topic and reply of what is done, by task key
    worker: Worker | None = None  # whose plugin this is
    lock: Lock = field(default_factory=Lock)

    def setup(self, worker: Worker) -> None:
        """Dask takes the plugin."""
        self.worker = worker

    def transition(self, key: Any, start: str, finish: str, **kwargs: Any) -> None:  # noqa: ARG002  Dask's signature
        """Dask moved a task: of one that is done the reply is told, one that nobody wants any more is stopped.

        What is told here goes in one message with Dask's own word that the task is done, and before it: who hears that
        word has the reply and need not ask for it.
        """
        told = self.replies.pop(str(key), None)
        if told is not None and finish == "memory" and self.worker is not None:
            self.worker.log_event(told[0], as_message(str(key), told[1]))
        if finish in ("cancelled", "released", "forgotten"):
            supervision = self.running.get(str(key))
            if supervision is not None:
                stop(supervision)

    def teardown(self, worker: Worker) -> None:  # noqa: ARG002  Dask's signature
        """The worker is closed: its builds are stopped, other workers get them."""
        self.closing = True
        for supervision in list(self.running.values()):
            stop(supervision)

    @contextmanager
    def slot(self, key: str, limit: float | None) -> Iterator[Slot]:
        """Run as one of the worker's builds: with its share of processors and memory, stopped when it must be."""
        supervision = Supervision(limit=limit)
        self.running[key] = supervision
        try:
            with in_slot(Slot(supervision=supervision, neighbours=lambda: max(1, len(self.running)))) as slot:
                yield slot
        finally:
            del self.running[key]

    def shared(self, url: str) -> SharedStore:
        """The store that files go through. Raises SharedStoreError."""
        with self.lock:
            if url not in self.places:
                place = SharedStore(open_place(url), url, _silent, required=True)
                place.connect(make=False)
                self.places[url] = place
            return self.places[url]

    @contextmanager
    def workset(self, order: Order) -> Iterator[Path]:
        """The folder of an order's files: here already, or taken from the shared store; not removed meanwhile."""
        key = order.workset
        with self.lock:
            self.used[key] = self.used.get(key, 0) + 1
        try:
            yield self.store.put_folder("prepared", key, partial(self._take, order))
        finally:
            with self.lock:
                self.used[key] -= 1
                self._forget_worksets()

    def _take(self, order: Order, folder: Path) -> None:
        if not self.shared(order.store).take("worksets", order.workset, folder):
            raise StoreError(f"{order.what.build.unit_id}: its sources are not whole in {order.store}")

    def _forget_worksets(self) -> None:
        top = self.store.work / "store/prepared"
        idle = [path for path in top.iterdir() if not self.used.get(path.name)]
        for path in sorted(idle, key=lambda p: p.stat().st_mtime, reverse=True)[_KEPT:]:
            self.store.remove_folder("prepared", path.name)

    def buildroot(self, order: Order) -> Buildroot:
        """The order's buildroot on this machine; raises RepositoryError where it is not the same."""
        wanted = order.what.build.buildroot
        with self.lock:  # one makes it, the others wait
            self.configs[wanted.chroot] = order.mock_config
            found = self.roots.get((wanted.chroot, wanted.identity))
            if found is None or (found.path is not None and not found.path.is_dir()):
                builder = self.builders[order.recipe]
                found = builder.find(wanted.chroot) or builder.prepare(wanted.chroot)
                self.roots[wanted.chroot, found.identity] = found
        if found.identity != wanted.identity:
            raise RepositoryError(
                f"{order.what.build.unit_id}: the buildroot {wanted.chroot.name} has other packages here than where "
                f"the run was started ({found.identity[:12]}, {wanted.identity[:12]} there)",
                hint="all machines must read the same state of the repositories",
            )
        return found

    def compile(self, order: Order, folder: Path) -> None:
        """Fill ``folder`` with the modules that are ordered."""
        buildroot = self.buildroot(order)
        with self.workset(order) as files:
            what = with_workset(order.what, files, buildroot)
            compile_into(folder, self.store, self.builders[order.recipe], what)


_here: list[BuildWorker] = []  # of this process: a task finds it here


def _silent(_text: str) -> None:
    """A required store raises what it would have warned of."""


def compile_order(order: Order) -> Reply:
    """The task: compile what is ordered, and put the modules (or the logs of the failure) into the store."""
    key = str(get_worker().get_current_task())
    here = _here[0]
    started = time.monotonic()
    with here.slot(key, order.limit) as slot:
        try:
            _compile(here, order)
            failed = None
        except RepobuildError as exc:
            if isinstance(exc, InterruptedRunError) and here.closing:
                raise Reschedule from exc
            failed = failed_of(exc)
            with suppress(RepobuildError):
                _give_logs(here, order)
    reply = Reply(
        worker=str(get_worker().address),
        seconds=round(time.monotonic() - started, 2),
        memory=slot.supervision.peak,
        jobs=slot.jobs,
        failed=failed,
    )
    if failed is None:
        here.replies[key] = (topic_of(here.shared(order.store).identity), reply)
    return reply


def _compile(here: BuildWorker, order: Order) -> None:
    with here.store.tmp() as tmp:
        folder = tmp / "modules"
        folder.mkdir()
        here.compile(order, folder)
        # Anew: nobody orders what can be had there, so what is there by that name is damaged, or the same.
        here.shared(order.store).give("modules", order.what.key, folder, anew=True)


def _give_logs(here: BuildWorker, order: Order) -> None:
    logs = here.store.logs(order.what.build.unit_id)
    if logs.is_dir():
        here.shared(order.store).give("failures", order.tag, logs)
        shutil.rmtree(logs)


def open_here(work: Path, names: tuple[str, ...]) -> BuildWorker:
    """What a worker needs, in the first folder below ``work`` that no other worker of this machine uses.

    Of the builders those that can work here; raises BuildrootError or its kind where none can.
    """
    store = _free_store(work)
    configs: dict[Chroot, str] = {}
    builders: dict[str, Builder] = {}
    faults = []
    for name in names:
        try:
            one = open_builder(name, store, configs.__getitem__)
            if name == "chroot":
                require_root()
        except RepobuildError as exc:
            faults.append(exc)
        else:
            builders[one.recipe] = SharedBuilder(one, store, ignore, retries=0)  # who ordered tries again
    if not builders:
        raise faults[0]
    return BuildWorker(store=store, builders=builders, configs=configs)


def _free_store(work: Path) -> Store:
    for number in range(_WORKERS):
        with suppress(LockedError):
            return Store.open(work / str(number))
    raise LockedError(f"{work}: {_WORKERS} workers work in it", hint="start fewer with more --nthreads each")


def offer(here: BuildWorker, threads: int) -> dict[str, float]:
    """What a worker can do, as Dask resources: see ``resources_of``."""
    names = [f"repobuild {identity()}", f"arch {os.uname().machine}", *(f"builder {r}" for r in here.builders)]
    return {**dict.fromkeys(names, float(threads)), "memory": float(available_memory() - spare_memory())}


@click.command()
@click.option("--work", type=click.Path(path_type=Path), envvar="REPOBUILD_WORKER", default=Path("repobuild-worker"))
@click.option("--builder", type=click.Choice(["auto", *_BUILDERS, "host"]), envvar="REPOBUILD_BUILDER", default="auto")
async def dask_setup(worker: Worker, work: Path, builder: str) -> None:
    """Dask calls this in a worker that was started with this module preloaded, before the scheduler knows it."""
    await join(worker, open_here(work, _BUILDERS if builder == "auto" else (builder,)))


async def join(worker: Worker, here: BuildWorker) -> None:
    """Make a Dask worker one that compiles."""
    look_rarely()
    _here[:] = [here]
    await worker.plugin_add(plugin=here, name=NAME)
    offered = offer(here, worker.state.nthreads)
    worker.state.total_resources.update(offered)
    worker.state.available_resources.update(offered)
