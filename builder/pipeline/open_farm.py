"""Opening the workers that a run was told to use: those of a scheduler, or a cluster on this machine."""

from __future__ import annotations

import asyncio
import logging
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from builder.build import Builder
from builder.errors import SchedulerLostError, WorkersError
from builder.pipeline.compilation import Compilation
from builder.pipeline.farm import Farm, Recipe, Retry
from builder.pipeline.settings import Settings
from builder.render import render_mock_config
from builder.store import SharedStore, Store, open_place
from builder.tools.machine import fitting_builds

if TYPE_CHECKING:  # an extra
    from distributed import Client

_CONNECT = 20.0  # seconds
PRELOAD = "builder.pipeline.farm_worker"
QUIET = {  # Dask watches itself 50 times a second in each process, more than all that a cell costs it
    "distributed.admin.tick.interval": "1s",
    "distributed.admin.system-monitor.interval": "5s",
    "distributed.worker.profile.enabled": False,
    "distributed.scheduler.active-memory-manager.start": False,  # no result of a task is worth a look: files are
}


def open_farm(settings: Settings, store: Store, builder: Builder, retry: Retry) -> Farm:
    """The farm of settings that name one, its workers of the same program as this.

    Raises WorkersError, SchedulerLostError.
    """
    _require_distributed()
    if settings.scheduler is None:
        return _open_local(settings, store, builder, retry)
    if store.shared is None or not store.shared.usable:
        raise WorkersError(
            f"--scheduler {settings.scheduler}: its workers need a store that all machines reach",
            hint="--store file:///folder (mounted on all of them) or s3://bucket/prefix",
        )
    return _farm(_connect(settings.scheduler), store.shared, settings, store, builder, retry, _nothing)


def _require_distributed() -> None:
    try:
        import distributed  # noqa: F401, PLC0415  an extra
    except ImportError as exc:
        raise WorkersError(
            f"--executor dask needs packages that are not installed: {exc.name}", hint="pip install 'repobuild[dask]'"
        ) from exc


def _connect(address: str) -> Client:
    """A client of a scheduler; TLS as Dask's own configuration says (distributed.comm.tls)."""
    from distributed import Client  # noqa: PLC0415  an extra

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # what is wrong is told by us
    try:
        asyncio.run(_reach(address))
        return Client(address, timeout=_CONNECT, set_as_default=False, name="repobuild")
    except Exception as exc:
        raise SchedulerLostError(
            f"--scheduler {address}: cannot be reached: {str(exc) or type(exc).__name__}",
            hint="is it running, is the address right (tcp:// or tls://), does this machine have its TLS certificates?",
        ) from exc


async def _reach(address: str) -> None:
    """Say hello to a scheduler: a Client that cannot leaves a thread behind, which ends with a traceback of its own."""
    from distributed import Security  # noqa: PLC0415  an extra
    from distributed.comm.core import connect  # noqa: PLC0415

    comm = await connect(address, timeout=_CONNECT, **Security().get_connection_args("client"))
    comm.abort()


def _open_local(settings: Settings, store: Store, builder: Builder, retry: Retry) -> Farm:
    """One worker process on this machine, with its own work folder, and a folder for what travels."""
    import dask  # noqa: PLC0415  an extra
    from distributed import LocalCluster  # noqa: PLC0415

    folder = Path(tempfile.mkdtemp(prefix="dask-", dir=store.work / "tmp"))
    url = (folder / "exchange").as_uri()
    (folder / "exchange").mkdir()
    exchange = SharedStore(open_place(url), url, _silent, required=True)
    exchange.connect(make=True)
    logging.getLogger("distributed").setLevel(logging.CRITICAL)
    with dask.config.set(QUIET):  # of this process, whose scheduler it is, and of the worker it starts
        cluster = LocalCluster(
            n_workers=1,
            threads_per_worker=settings.jobs or fitting_builds(),
            processes=True,
            dashboard_address=None,
            memory_limit=0,  # Dask's own: it knows nothing of the processes of a build
            local_directory=str(folder),
            silence_logs=logging.CRITICAL,
            preload=[PRELOAD],
            preload_argv=[["--work", str(store.work / "workers"), "--builder", builder.name]],
        )

    def close() -> None:
        cluster.close(timeout=10)
        shutil.rmtree(folder, ignore_errors=True)

    return _farm(_connect(cluster.scheduler_address), exchange, settings, store, builder, retry, close)


def _farm(
    client: Client,
    exchange: SharedStore,
    settings: Settings,
    store: Store,
    builder: Builder,
    retry: Retry,
    close: Callable[[], None],
) -> Farm:
    farm = Farm(
        client,
        exchange,
        store,
        Recipe(builder=builder.name, recipe=builder.recipe, mock_config=_mock_config(builder)),
        retry,
        patience=settings.worker_wait,
        turns=settings.workers,
        close=close,
    )
    try:
        farm.refuse_other_programs()
    except BaseException:
        farm.close()
        raise
    return farm


def _mock_config(builder: Builder) -> Callable[[Compilation], str]:
    """For workers whose builder is mock, whichever it is here: builders of one recipe take each other's orders."""
    if builder.name == "host":
        return lambda _what: ""
    return lambda what: render_mock_config(what.build.buildroot.chroot, what.build.distribution)


def _silent(_text: str) -> None:
    """A required store raises what it would have warned of."""


def _nothing() -> None:
    """A scheduler of others stays."""
