"""A builder as the worker pool uses it: cores, memory and time as shared, lost mirrors tried again."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from typing import TypeVar

from builder.build import Builder
from builder.build.memory import spare_memory
from builder.model.matrix import Chroot
from builder.model.sources import BuildRequest, Buildroot
from builder.pipeline.attempts import try_again
from builder.pipeline.events import Event, Listener
from builder.pipeline.workers import current_slot
from builder.store import Store, remove_tree

T = TypeVar("T")


class SharedBuilder:
    """Another builder, told of its neighbours at each build."""

    def __init__(self, builder: Builder, store: Store, listener: Listener, *, retries: int) -> None:
        self._builder = builder
        self._store = store
        self._listener = listener
        self._retries = retries

    @property
    def name(self) -> str:
        """The other builder's."""
        return self._builder.name

    @property
    def recipe(self) -> str:
        """The other builder's."""
        return self._builder.recipe

    def find(self, chroot: Chroot) -> Buildroot | None:
        """As the other builder does."""
        return self._builder.find(chroot)

    def prepare(self, chroot: Chroot) -> Buildroot:
        """As the other builder does, tried again where a repository does not answer."""
        return self._again("buildroot", chroot.name, partial(self._builder.prepare, chroot))

    def build(self, request: BuildRequest) -> None:
        """As the other builder does, with the processors, memory and time that are this task's by now."""
        self._again("build", request.unit_id, partial(self._build, request))

    def _build(self, request: BuildRequest) -> None:
        for leftover in request.resultdir.iterdir():  # of an attempt before
            remove_tree(leftover)
        log = request.resultdir / "build.log"
        log.touch()  # whoever follows it can open it now: the build may be over and gone at the next look
        self._listener(Event(stage="build", subject=request.unit_id, state="log", log=log))
        slot = current_slot()
        if slot is not None:
            slot.jobs = slot.make_jobs()
            left = slot.supervision.left()
            request = replace(
                request,
                jobs=slot.jobs,
                memory=spare_memory(slot.neighbours()),
                timeout=request.timeout if left is None else max(1.0, min(request.timeout, left)),
            )
        self._builder.build(request)

    def _again(self, stage: str, subject: str, action: Callable[[], T]) -> T:
        return try_again(
            action, store=self._store, listener=self._listener, stage=stage, subject=subject, retries=self._retries
        )
