"""What goes to a worker on another machine and what comes back: small messages; files go through a shared store.

An order names what is to be compiled by digests. It has no key, no certificate, no credential and no URL of a source:
modules leave a worker unsigned, and the run that ordered them signs (docs/adr/0030-dask.md).
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from functools import cache
from pathlib import Path

import builder
from builder import errors
from builder.errors import BuildError, RepobuildError
from builder.model.sources import Buildroot
from builder.pipeline.compilation import Compilation

LINES = 40  # of a failure's evidence that are sent back; the whole log comes through the store
_SOURCES, _OBJECTS = "sources", "objects"  # folders of a workset


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """A compilation as it is sent: paths in it mean nothing where it arrives."""

    what: Compilation
    builder: str  # its name
    recipe: str  # Builder.recipe: bytes may differ where it does
    mock_config: str  # the chroot's, for a worker whose builder is mock
    workset: str  # key of the folder with its files
    store: str  # URL of the shared store that files go through
    limit: float | None  # seconds for all of it
    tag: str  # of this attempt's logs in the store


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """A RepobuildError on its way back."""

    code: str
    message: str
    details: tuple[str, ...]
    hint: str | None
    log: str | None  # name of the log it means


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What a worker says when it is done; the modules are in the store then."""

    worker: str  # its address
    seconds: float  # wall
    memory: int  # bytes: largest of its processes together
    jobs: int  # make -j that it had
    failed: Failed | None = None


def topic_of(store: str | None) -> str:
    """Where workers say what they are done with, to all runs whose files go through the store of that id."""
    return f"repobuild-{store}"


def as_message(key: str, reply: Reply) -> dict[str, object]:
    """A reply of a task that went well, for Dask's events."""
    return {"key": key, **{name: value for name, value in asdict(reply).items() if name != "failed"}}


def from_message(message: object) -> tuple[str, Reply] | None:
    """The task's key and the reply; None for what is no such message."""
    names = {field.name for field in fields(Reply)} - {"failed"}
    if not isinstance(message, dict) or set(message) != {"key", *names}:
        return None
    return str(message["key"]), Reply(**{name: message[name] for name in names})


@cache
def identity() -> str:
    """This program: its version and a digest of its code and of its pages' templates, so that two installations of one
    version are told apart.
    """
    digest = hashlib.sha256()
    top = Path(builder.__file__).parent
    for path in sorted((*top.rglob("*.py"), *(path for path in top.glob("*/templates/*") if path.is_file()))):
        digest.update(f"{path.relative_to(top)}\0".encode() + path.read_bytes() + b"\0")
    return f"{builder.__version__}+{digest.hexdigest()[:12]}"


def make_order(what: Compilation, *, recipe: str, name: str, mock_config: str, store: str, tag: str) -> Order:
    """The order of a compilation; what only this machine has is left out of it."""
    build = what.build
    root = Buildroot(chroot=build.buildroot.chroot, identity=build.buildroot.identity, packages=(), path=None)
    sent = replace(build, buildroot=root, distribution=replace(build.distribution, kernels=()))
    return Order(
        what=replace(what, build=sent),
        builder=name,
        recipe=recipe,
        mock_config=mock_config,
        workset=workset_key(what),
        store=store,
        limit=None,
        tag=tag,
    )


def workset_key(what: Compilation) -> str:
    """Names the files that a compilation is made from; cells of one driver and flavor share them."""
    rows = sorted((name, sha256) for name, _, sha256 in _files(what))
    return hashlib.sha256(json.dumps(rows).encode()).hexdigest()


def _files(what: Compilation) -> Iterator[tuple[str, Path, str]]:
    """Name in the workset, path here and sha256."""
    for source in what.spec.sources:
        yield f"{_SOURCES}/{source.filename}", source.path, source.sha256
    for one in what.objects:
        yield f"{_OBJECTS}/{one.module}/{one.filename}", one.path, one.sha256


def fill_workset(what: Compilation, folder: Path) -> None:
    """Lay the files of a compilation into a folder, linked where that can be."""
    for name, path, _ in _files(what):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.link(path.resolve(), target)
        except OSError:  # another filesystem
            shutil.copyfile(path, target)


def with_workset(what: Compilation, folder: Path, buildroot: Buildroot) -> Compilation:
    """A compilation as it can be carried out here: with the files of a workset, in a buildroot of this machine."""
    sources = tuple(replace(s, path=folder / _SOURCES / s.filename) for s in what.spec.sources)
    objects = tuple(replace(o, path=folder / _OBJECTS / o.module / o.filename) for o in what.objects)
    return replace(
        what,
        spec=replace(what.spec, sources=sources),
        objects=objects,
        build=replace(what.build, buildroot=buildroot),
    )


def failed_of(exc: RepobuildError) -> Failed:
    """A failure, to be sent."""
    log = exc.log.name if exc.log is not None else None
    return Failed(code=exc.code, message=exc.message, details=exc.details[-LINES:], hint=exc.hint, log=log)


def error_of(failed: Failed, logs: Path | None) -> RepobuildError:
    """The error that was sent; its log is below ``logs`` where that came, too."""
    kinds = {kind.code: kind for kind in _all(RepobuildError) if kind is not errors.ConfigError}
    kind = kinds.get(failed.code, BuildError)
    log = logs / failed.log if logs is not None and failed.log is not None else None
    return kind(failed.message, details=failed.details, hint=failed.hint, log=log)


def _all(kind: type[RepobuildError]) -> Iterator[type[RepobuildError]]:
    yield kind
    for below in kind.__subclasses__():
        yield from _all(below)


def resources_of(order: Order, memory: int) -> dict[str, float]:
    """What a worker must have for an order, in Dask's words: an amount of each that it takes while it runs."""
    chroot = order.what.build.buildroot.chroot
    needs = (f"repobuild {identity()}", f"arch {chroot.arch}", f"builder {order.recipe}")
    return {**dict.fromkeys(needs, 1.0), "memory": float(memory)}


def describe(resources: dict[str, float]) -> str:
    """Resources for people."""
    words = [name for name in sorted(resources) if name != "memory"]
    return ", ".join([*words, f"{resources.get('memory', 0.0) / (1 << 30):.1f} GiB of memory"])
