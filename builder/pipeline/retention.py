"""Free space: find out what refers to each thing in the work folder, then remove what nothing needs.

Nothing repeats how keys are made: the matrix is planned as for a run, and what planning looked up and found is needed.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from pathlib import Path

from builder.errors import PublishError, RepobuildError, StoreError
from builder.model.cells import BuildResult
from builder.model.retention import Fate, Kept, Retention, Stored
from builder.pipeline.events import Listener
from builder.pipeline.matrix import open_workshop
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.specs import exists, make_job
from builder.pipeline.workshop import Workshop, known
from builder.plan.retention import DAY, decide_fates, size_of
from builder.publish import Generation, Repository, find_generation, read_generation, shared_rpms
from builder.store import describe_stored, list_contents, read_result, read_root_lock

KEEP_DAYS = 30.0
_Marks = dict[tuple[str, str], Kept]


def free_space(
    settings: Settings,
    listener: Listener,
    *,
    keep_days: float = KEEP_DAYS,
    max_size: int | None = None,
    dry_run: bool = False,
) -> Retention:
    """Remove what no matrix, no publication and no run of the last ``keep_days`` needs; see docs/work-folder.md.

    ``dry_run`` decides only, and may look while a run works. Raises LockedError when another repobuild works in the
    work folder or publishes to the repository. Killed at any moment it leaves a store that works.
    """
    shop = open_workshop(settings, listener, exclusive=not dry_run, exchange=False)
    repository = Repository(settings.repo_path)
    writing = not dry_run and repository.generations.is_dir()
    with shop.store, repository.writing() if writing else nullcontext():
        now = time.time()
        generations = _generations(repository)
        marks = _mark_generations(repository, generations)
        first = decide_fates([item for item, _ in generations], marks, now=now, keep_days=keep_days)
        staying = [g for (_, g), fate in zip(generations, first, strict=True) if fate.stays and g is not None]
        contents = list_contents(shop.store)
        results = _results(contents)
        marks |= _mark_published(contents, staying, results)
        marks |= _mark_matrix(shop, contents)
        marks |= _mark_locked(contents, marks, now - keep_days * DAY)
        everything = (*(item for item, _ in generations), *contents)
        fates = decide_fates(everything, marks, now=now, keep_days=keep_days, max_size=max_size)
        since = now - keep_days * DAY
        rows = sum(len(part) for part in _rows(shop, fates, since))
        if not dry_run:
            _sweep(shop, repository, fates, results, since)
    return Retention(fates=fates, total=size_of(everything), rows=rows, removed=not dry_run)


def _generations(repository: Repository) -> list[tuple[Stored, Generation | None]]:
    """Those on disk; None for one whose record cannot be read."""
    found: list[tuple[Stored, Generation | None]] = []
    for folder in repository.folders():
        try:
            generation = read_generation(folder)
        except PublishError:
            found.append((describe_stored("generations", folder), None))
        else:
            about = f"{generation.distribution}/{generation.arch}"
            found.append((describe_stored("generations", folder, about), generation))
    return _with_shared(found)


def _with_shared(found: Sequence[tuple[Stored, Generation | None]]) -> list[tuple[Stored, Generation | None]]:
    """With the RPMs of their pools, as if each generation had a link of its own: what one of them needs stays."""
    shared = {item.name: shared_rpms(item.path) for item, _ in found}
    holders = Counter(path for paths in shared.values() for path in paths)
    described: list[tuple[Stored, Generation | None]] = []
    for item, generation in found:
        files = [
            replace(file, links=file.links - 1 + holders[path])
            for path in shared[item.name]
            for file in describe_stored("rpm", path).files
        ]
        described.append((replace(item, files=(*item.files, *files)), generation))
    return described


def _mark_generations(repository: Repository, generations: Sequence[tuple[Stored, Generation | None]]) -> _Marks:
    """The current ones, and for each distribution × arch the one to roll back to."""
    linked = repository.linked()
    marks: _Marks = {}
    former: dict[str, Stored] = {}  # by distribution × arch: current last
    for item, generation in generations:
        if item.name in linked:
            marks[item.kind, item.name] = Kept(reason="current")
        elif generation is None:
            marks[item.kind, item.name] = Kept(reason="its publication.json cannot be read: look at it, move it away")
        elif item.about not in former or former[item.about].used < item.used:
            former[item.about] = item
    kept = {(i.kind, i.name): Kept(reason="the one before the current, to roll back to") for i in former.values()}
    for item, generation in generations:  # what `repobuild rollback` takes by itself: another one after a rollback
        if item.name in linked and generation is not None:
            with suppress(PublishError):
                target = find_generation(repository.root, generation.distribution, generation.arch)
                kept[item.kind, target.digest] = Kept(reason="made before the current one, to roll back to")
    return kept | marks


def _mark_published(
    contents: Sequence[Stored], staying: Sequence[Generation], results: Mapping[str, BuildResult]
) -> _Marks:
    """Signed copies in generations that stay, and the results they were made of."""
    published = {sha256: g.digest for g in staying for sha256 in g.files.values()}
    marks: _Marks = {}
    unsigned: dict[str, Kept] = {}  # by the beginning of an RPM's sha256, which names its signed copies
    for item in contents:
        digest = published.get(_text(item.path / "sha256")) if item.kind == "signed" else None
        if digest is not None:
            marks[item.kind, item.name] = Kept(reason=f"in publication {digest[:12]}")
            unsigned[item.name.partition("-")[0]] = marks[item.kind, item.name]
    lengths = {len(digest) for digest in unsigned}
    for key, result in results.items():
        for digest in (a.sha256[:n] for a in result.artifacts for n in lengths):
            if digest in unsigned:
                marks["results", key] = unsigned[digest]
    return marks


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def _results(contents: Sequence[Stored]) -> dict[str, BuildResult]:
    """By key, without those that are damaged: a run tells of them."""
    found = {}
    for item in contents:
        if item.kind == "results":
            with suppress(StoreError):
                found[item.name] = read_result(item.path)
    return found


def _mark_matrix(shop: Workshop, contents: Sequence[Stored]) -> _Marks:
    """What a run of the matrix would take from the store now, and what stands in where that cannot be told."""
    look_at_all(shop)
    newest = _newest(contents)
    marks: _Marks = {}
    for unit in shop.configuration.units:
        try:
            job = make_job(shop, unit, record=False) if exists(shop, unit) else None
        except RepobuildError:  # of this unit alone; a run tells it
            job = None
        keys = {"results": job.key if job else None, "modules": job.modules.key if job and job.modules else None}
        for kind, key in keys.items():
            # Not built yet, or with other options (another signer, another builder): the newest there is.
            if (key is None or shop.store.folder(kind, key) is None) and (kind, unit.scope) in newest:
                marks[kind, newest[kind, unit.scope].name] = Kept(reason=f"the newest of {unit.scope}")
        if shop.store.ledger.failure(unit.scope) is not None:
            marks["logs", shop.store.logs(unit.id).name] = Kept(reason="of the newest failure of a cell or package")
    selected = Kept(reason="selected by the matrix")
    marks |= dict.fromkeys(shop.store.used, selected)
    matrix = shop.configuration.matrix
    pins = (shop.configuration.lock.pin(s.url) for b in matrix.branches for d in b.drivers for s in d.sources)
    marks |= {("sources", pin.sha256): selected for pin in pins if pin is not None}
    devels = (known(fact) for fact in shop.facts.kernels.values())
    marks |= {("conftest", f"{devel.sha256}.answers"): selected for devel in devels if devel is not None}
    return _mark_unread(shop, contents) | marks


def _mark_unread(shop: Workshop, contents: Sequence[Stored]) -> _Marks:
    """Roots of the matrix, whatever state its repositories are in; and what hangs on one that is not known now."""
    chroots = {chroot.name for d in shop.configuration.matrix.distributions for chroot in d.chroots}
    unread = sorted(chroots - {name for name, fact in shop.facts.buildroots.items() if known(fact)})
    marks: _Marks = {}
    for item in contents:
        if item.kind == "roots" and item.about in chroots:
            marks[item.kind, item.name] = Kept(reason=f"a buildroot of {item.about}")
        elif item.kind in ("prepared", "trees", "conftest") and unread:
            marks[item.kind, item.name] = Kept(reason=f"there is no current buildroot of {unread[0]} to ask")
    return marks


def _mark_locked(contents: Sequence[Stored], marks: _Marks, since: float) -> _Marks:
    """RPMs that a hermetic rebuild fetched, as long as modules stay that name them in their lock."""
    rpms = {item.name for item in contents if item.kind == "sources" and item.about.endswith(".rpm")}
    found: _Marks = {}
    for item in contents if rpms else ():
        if item.kind == "modules" and ((item.kind, item.name) in marks or item.used > since):
            locked = {package.sha256 for package in read_root_lock(item.path) or ()}
            kept = Kept(reason=f"in the buildroot lock of {item.about}")
            found |= {("sources", sha256): kept for sha256 in rpms & locked}
    return found


def _newest(contents: Sequence[Stored]) -> dict[tuple[str, str], Stored]:
    """What was used last of each kind and unit."""
    ordered = sorted(contents, key=lambda item: (item.used, item.name))
    return {(item.kind, item.about): item for item in ordered}


def _sweep(
    shop: Workshop, repository: Repository, fates: Sequence[Fate], results: Mapping[str, BuildResult], since: float
) -> None:
    """Remove what goes. Serials are written down first, then rows go, then folders: killed in between, all of it is
    rubbish still, and the next time's.
    """
    ledger = shop.store.ledger
    staying = {fate.item.name for fate in fates if fate.stays and fate.item.kind == "results"}
    held = {(r.unit_id, r.serial) for key, r in results.items() if key in staying}
    going = [r for key, r in results.items() if key not in staying]
    shop.store.retire(going)
    ledger.forget(*_rows(shop, fates, since), {(r.unit_id, r.serial) for r in going} - held)
    removed = [fate.item for fate in fates if not fate.stays]
    for item in removed:
        if item.kind == "generations":
            repository.remove(item.name)
    _forget_derived(shop, repository)
    with shop.store.removing() as take:
        for item in removed:
            if item.kind != "generations":
                take(item.path)


def _forget_derived(shop: Workshop, repository: Repository) -> None:
    """Drop what is kept of RPMs that no generation has any more, and of units: all of it can be made again."""
    kept: set[str] = set()
    for _, generation in _generations(repository):
        kept |= set(generation.files.values()) if generation is not None else set()
    shop.store.derived.forget(lambda kind, key: kind == "key" or (kind != "turn" and key[:64] not in kept))


def _rows(shop: Workshop, fates: Sequence[Fate], since: float) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of results that the ledger will have no folder of, and units of no matrix that failed before ``since``."""
    staying = {fate.item.name for fate in fates if fate.stays and fate.item.kind == "results"}
    scopes = {unit.scope for unit in shop.configuration.units}
    failed = (unit for unit, happened in shop.store.ledger.failures() if unit not in scopes and happened < since)
    return shop.store.ledger.result_keys() - staying, frozenset(failed)
