"""The support matrix of a whole repository: page, data and times, written anew after each publication and rollback."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

from builder.errors import RepobuildError
from builder.model.cells import PackageKind
from builder.model.planning import UnitOutcome
from builder.pipeline.kept import kept_page
from builder.pipeline.orders import identity
from builder.pipeline.settings import Settings
from builder.pipeline.workshop import Workshop
from builder.publish import LOGS, Bytes, CurrentSupport, update_site
from builder.report import (
    SITE_DATA,
    SITE_PAGE,
    SITE_TIMES,
    CurrentPublication,
    read_times,
    site_document,
    support_json,
    support_page,
    update_times,
    write_times,
)
from builder.store import Derived, read_inputs

NOT_PUBLISHED = "logs are not published here: repobuild why CELL shows them where it was built"
NOT_HERE = "its log is not in the work folder that published last"
_LOG = "build.log"
_KIND = "site"  # what is kept of the state in which composing the files changed nothing


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteFacts:
    """What a run knows of modules besides what it published."""

    built: Mapping[str, float] = field(default_factory=dict)  # package → seconds
    logs: Mapping[str, tuple[Path, ...]] = field(default_factory=dict)  # by "<distribution>/<arch>/<cell id>"


def tell_site(shop: Workshop, outcomes: Iterable[UnitOutcome]) -> None:
    """Write the repository's support matrix; that it fails is told and harms no publication."""
    try:
        changed = write_site(shop.settings, _facts(shop, outcomes), shop.store.derived)
    except RepobuildError as exc:
        shop.tell("site", SITE_PAGE, "failed", exc.message, code=exc.code)
        return
    if changed:
        shop.tell("site", SITE_PAGE, "done", f"{len(changed)} files")


def write_site(settings: Settings, facts: SiteFacts | None = None, derived: Derived | None = None) -> tuple[str, ...]:
    """Names of the files that changed; ``derived`` keeps the page. Raises what ``update_site`` raises."""
    known = facts or SiteFacts()

    def compose(current: tuple[CurrentSupport, ...], read: Callable[[str], bytes]) -> Mapping[str, Bytes]:
        before = {name: read(name) for name in (SITE_TIMES, SITE_DATA, SITE_PAGE)}
        state = _state(current, known, settings, before)
        if state is not None and derived is not None and derived.get(_KIND, [_KIND]).get(_KIND) == state:
            return {}  # composing it of these changed nothing the last time
        times = read_times(before[SITE_TIMES])
        for support in current:
            where = _where(support)
            times[where] = update_times(times.get(where, {}), support.document, support.made, known.built)
        fresh = {name: log for support in current for name, log in _fresh_logs(support, known, settings.repo_path)}
        logs = {_where(s): _logs_at(s, fresh, settings.repo_path) for s in current}
        document = site_document(
            (CurrentPublication(digest=s.digest, document=s.document) for s in current),
            times,
            place=settings.base_url or _former_place(before[SITE_DATA]),
            logs=logs,
            no_log=NOT_HERE if any(logs.values()) else NOT_PUBLISHED,
        )
        data = support_json(document)
        page = kept_page(derived, "site", data, partial(support_page, document))
        # Times first: a run that is killed in between counts no module as newer than it is.
        files: dict[str, Bytes] = {SITE_TIMES: write_times(times), **fresh, SITE_DATA: data, SITE_PAGE: page}
        if files == before and state is not None and derived is not None:
            derived.put(_KIND, {_KIND: state})
        return files

    return update_site(settings.repo_path, compose, _logs_of)


def _state(
    current: Iterable[CurrentSupport], known: SiteFacts, settings: Settings, before: Mapping[str, bytes]
) -> bytes | None:
    """A digest of all that the files are composed of, themselves among it; None where logs may be new."""
    if known.logs:
        return None
    logs = sorted(path.name for path in (settings.repo_path / LOGS).glob("*"))
    generations = [(support.digest, support.made) for support in current]
    files = [(name, hashlib.sha256(data).digest()) for name, data in before.items()]
    whole = (identity(), version("jinja2"), generations, settings.base_url, sorted(known.built.items()), logs, files)
    return hashlib.sha256(repr(whole).encode()).digest()


def _logs_of(document: Mapping[str, Any]) -> set[str]:
    """The logs that a generation's support matrix may link to, published or not."""
    where = f"{document.get('distribution')}/{document.get('arch')}"
    return {_log_name(where, cell) for cell in document.get("cells", ())}


def _former_place(data: bytes) -> str | None:
    """The address that a run with --base-url wrote: a rollback is not told it."""
    try:
        place = json.loads(data)["place"]
    except (ValueError, KeyError, TypeError):
        return None
    return place if isinstance(place, str) else None


def _where(support: CurrentSupport) -> str:
    return f"{support.document['distribution']}/{support.document['arch']}"


def _log_name(where: str, cell: Mapping[str, object]) -> str:
    """Short, as the page links to thousands; a rebuilt module gets another one."""
    text = f"{where}/{cell['id']}/{cell.get('package') or cell['outcome']}"
    return f"{LOGS}/{hashlib.sha256(text.encode()).hexdigest()[:10]}.log"


def _fresh_logs(support: CurrentSupport, known: SiteFacts, repo: Path) -> Iterator[tuple[str, Callable[[], bytes]]]:
    """Of published modules those that are not there yet; of failures all."""
    where = _where(support)
    for cell in support.document["cells"]:
        paths, name = known.logs.get(f"{where}/{cell['id']}", ()), _log_name(where, cell)
        if paths and not (cell["outcome"] == "published" and (repo / name).is_file()):
            yield name, partial(_joined, paths)


def _joined(paths: Iterable[Path]) -> bytes:
    return b"".join(path.read_bytes() for path in paths if path.is_file())


def _logs_at(support: CurrentSupport, fresh: Collection[str], repo: Path) -> dict[str, str]:
    """By cell id: logs of this run, and those that earlier ones published."""
    where = _where(support)
    names = {str(cell["id"]): _log_name(where, cell) for cell in support.document["cells"]}
    return {cell: name for cell, name in names.items() if name in fresh or (repo / name).is_file()}


def _facts(shop: Workshop, outcomes: Iterable[UnitOutcome]) -> SiteFacts:
    built: dict[str, float] = {}
    logs: dict[str, tuple[Path, ...]] = {}
    for outcome in outcomes:
        if outcome.unit.kind is not PackageKind.KMOD:
            continue
        result = outcome.result
        finished = shop.store.ledger.finished(result.key) if result else None
        if result is not None and finished is not None:
            built.update((str(artifact.nevra), finished) for artifact in result.artifacts)
        if shop.settings.publish_logs and (paths := _logs(shop, outcome)):
            logs[f"{outcome.unit.distribution.name}/{outcome.unit.arch}/{outcome.unit.id}"] = paths
    return SiteFacts(built=built, logs=logs)


def _logs(shop: Workshop, outcome: UnitOutcome) -> tuple[Path, ...]:
    """What was compiled and what was packed of it; of a cell that failed, the log of its failure."""
    paths: list[Path | None] = []
    failure = shop.store.ledger.failure(outcome.unit.scope)
    if outcome.ok and outcome.result is not None:
        inputs = read_inputs(outcome.result.folder)
        modules = dict(inputs.parts.parts).get("modules") if inputs else None
        compiled = shop.store.folder("modules", modules) if modules else None
        paths = [compiled / _LOG if compiled else None, outcome.result.folder / _LOG]
    elif failure is not None:
        paths = [failure.log]
    return tuple(path for path in paths if path is not None and path.is_file())
