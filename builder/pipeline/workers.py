"""The local worker pool: one failing unit never harms another; a full disk or Ctrl-C stops the rest cleanly."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from builder.errors import DiskFullError, InterruptedRunError, RepobuildError
from builder.tools.run import cancel_all

K = TypeVar("K", bound=Hashable)
T = TypeVar("T")


def run_all(
    tasks: Mapping[K, Callable[[], T]], *, workers: int, fail_fast: bool = False
) -> dict[K, T | RepobuildError]:
    """Run tasks in the order given, at most ``workers`` at a time.

    Returns each task's value, or the RepobuildError it raised; tasks that a stop kept from starting are missing.
    Raises DiskFullError or InterruptedRunError after the running tasks have ended; any other exception is a bug and
    is passed on the same way. KeyboardInterrupt kills the running tools first.
    """
    outcomes: dict[K, T | RepobuildError] = {}
    fatal: BaseException | None = None
    queue = list(tasks.items())
    running: dict[Future[T], K] = {}
    with ThreadPoolExecutor(max_workers=workers) as pool:
        try:
            while (queue and fatal is None) or running:
                while queue and len(running) < workers and fatal is None:
                    name, task = queue.pop(0)
                    running[pool.submit(task)] = name
                finished, _ = wait(running, return_when=FIRST_COMPLETED)
                for future in finished:
                    name = running.pop(future)
                    error = future.exception()
                    if isinstance(error, DiskFullError | InterruptedRunError) or not isinstance(
                        error, RepobuildError | None
                    ):
                        fatal = fatal or error
                    elif error is not None:
                        outcomes[name] = error
                        if fail_fast:
                            queue.clear()
                    else:
                        outcomes[name] = future.result()
        except KeyboardInterrupt:
            cancel_all()
            raise
    if fatal is not None:
        raise fatal
    return outcomes
