"""Orders to Dask's scheduler and what workers say of them: few messages, however many cells wait.

Dask takes a graph of many tasks at nearly the cost of one, and a reply that it is asked for costs more than the whole
order (the scheduler asks the worker). So orders of one moment are sent together, and replies come as events.
"""

from __future__ import annotations

import threading
import time
from concurrent import futures
from queue import SimpleQueue
from typing import TYPE_CHECKING

from builder.pipeline.orders import Order, Reply, from_message, topic_of

if TYPE_CHECKING:  # an extra
    from distributed import Client, Future

_TOGETHER = 0.03  # seconds that an order waits for others: nothing beside a build


class Mail:
    """One run's. Methods may be called by any thread."""

    def __init__(self, client: Client, store: str | None) -> None:
        """``store``: id of the store that files go through; all runs over it hear what is done."""
        self._client = client
        self._queue: SimpleQueue[_Letter | None] = SimpleQueue()
        self._replies: dict[str, Reply] = {}  # by task key, of what was ordered and not yet taken
        self._ordered: set[str] = set()  # task keys
        self._closing = threading.Lock()
        self._closed = False
        client.subscribe_topic(topic_of(store), self._hear)
        threading.Thread(target=self._send, name="orders", daemon=True).start()

    def order(self, order: Order, key: str, resources: dict[str, float]) -> Future[Reply]:
        """Order it as the task ``key``; raises what Dask raises, and RuntimeError once it is closed."""
        letter = _Letter(order, key, resources)
        self._ordered.add(key)
        with self._closing:
            if self._closed:
                raise RuntimeError("nothing more is sent")
            self._queue.put(letter)
        return letter.sent.result()

    def reply(self, key: str) -> Reply | None:
        """What was heard of a task that is done: None where it failed, or where nothing was heard."""
        return self._replies.get(key)

    def forget(self, key: str) -> None:
        """Nobody waits for this task any more."""
        self._ordered.discard(key)
        self._replies.pop(key, None)

    def close(self) -> None:
        """Send nothing more than what was ordered by now."""
        with self._closing:
            self._closed = True
            self._queue.put(None)

    def _hear(self, event: tuple[float, object]) -> None:
        """A worker is done with something, maybe of another run. Called by the client's own thread."""
        heard = from_message(event[1])
        if heard is not None and heard[0] in self._ordered:
            self._replies[heard[0]] = heard[1]

    def _send(self) -> None:
        while (letter := self._queue.get()) is not None:
            time.sleep(_TOGETHER)
            alike = {letter.what_it_needs: [letter]}
            for _ in range(self._queue.qsize()):
                other = self._queue.get()
                if other is None:
                    self._queue.put(None)
                else:
                    alike.setdefault(other.what_it_needs, []).append(other)
            for letters in alike.values():
                self._send_together(letters)

    def _send_together(self, letters: list[_Letter]) -> None:
        from builder.pipeline.farm_worker import compile_order  # noqa: PLC0415  needs the extra

        orders, keys = [one.order for one in letters], [one.key for one in letters]
        try:
            sent = self._client.map(compile_order, orders, key=keys, resources=letters[0].resources, pure=False)
        except BaseException as exc:  # noqa: BLE001  it is raised where it is waited for
            for one in letters:
                one.sent.set_exception(exc)
            return
        for one, future in zip(letters, sent, strict=True):
            one.sent.set_result(future)


class _Letter:
    """An order on its way."""

    def __init__(self, order: Order, key: str, resources: dict[str, float]) -> None:
        self.order = order
        self.key = key
        self.resources = resources
        self.what_it_needs = frozenset(resources.items())
        self.sent: futures.Future[Future[Reply]] = futures.Future()
