"""``repobuild matrix`` again when 2,000 cells are finished and published: the program as its users start it.

One kernel of the lab is real and so are its cells and all packages around the drivers. The other kernels are it under
names of their own, and so are their kmod packages: nothing is compiled for them, and all that comes after it is real.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import yaml

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides, Target
from benchmarks.lab import lab, make_settings
from benchmarks.repeat import results_in, run_matrix
from builder.model.cells import Action, BuildResult, Decision
from builder.model.matrix import Kernel
from builder.pipeline.events import ignore
from builder.pipeline.kernels import kernel_key
from builder.pipeline.matrix import open_workshop, plan_units
from builder.pipeline.open_tree import look_at_all
from builder.pipeline.settings import Settings
from builder.pipeline.units import LEVEL
from builder.pipeline.verdicts import verdict_key
from builder.pipeline.workshop import Workshop, known
from builder.tools.rpms import read_artifact
from tests.lab.light import make_light
from tests.tools.many_rpms import renamed

KERNELS = 334
VERSIONS = ("535.261.03", "550.163.01", "570.211.01")
CELLS = KERNELS * len(VERSIONS) * 2  # both flavors


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    settings = make_settings(tmp, make_light(VERSIONS), kernels=1, flavor=None)
    run_matrix(settings)
    multiply(settings, KERNELS)
    first = json.loads(run_matrix(settings, "--json").stdout)
    cells = [unit for unit in first["units"] if unit["kind"] == "kmod-nvidia"]
    if len(cells) != CELLS or any(unit["key"] is None for unit in cells):
        raise BenchmarkError(f"{len(cells)} cells, not {CELLS}")
    run_matrix(settings)  # which finds the publication equal; from then on it is not composed (ADR 0039)
    pointers = [Path(d["publication"]["path"]) for d in first["distributions"]]
    before = [str(pointer.readlink()) for pointer in pointers], results_in(settings.work)

    def ours(folder: Path, clock: Clock) -> Collection[str]:
        with clock.timed():
            run_matrix(settings, peak=folder / "peak")
        clock.add(0.0, peak=int((folder / "peak").read_text()))
        if ([str(pointer.readlink()) for pointer in pointers], results_in(settings.work)) != before:
            raise BenchmarkError("there was something to do")
        return before[0]

    return Sides(ours=ours, peer=None)


def multiply(settings: Settings, kernels: int) -> None:
    """Give the matrix so many kernels in all, each with finished cells like those of the first."""
    (real,) = (kernel for kernel in lab().kernels[:1])
    base = real.release.removesuffix("-amd64")  # in its EVR, too
    names = {base: base} | {(name := f"5.{n:03}{base[5:]}"): name for n in range(1, kernels)}
    document: dict[str, Any] = yaml.safe_load(settings.config.read_text())
    entry = document["kernels"][0]
    document["kernels"] = [json.loads(json.dumps(entry).replace(base, name)) for name in names]
    settings.config.write_text(yaml.safe_dump(document, sort_keys=False, width=120))
    shop = open_workshop(settings, ignore)
    with shop.store:
        look_at_all(shop)
        _know_kernels(shop, real.release)
        look_at_all(shop)
        finished = {(a.unit.driver.version, a.unit.flavor): a for a in plan_units(shop) if _done(a)}
        for action in plan_units(shop):
            cell = action.unit.cell
            if cell is None or _done(action):
                continue
            if action.key is None:
                raise BenchmarkError(f"{action.unit.id}: {action.reason}")
            model = finished[action.unit.driver.version, action.unit.flavor]
            _finish(shop, model, action, base, cell.kernel.release.removesuffix("-amd64"))


def _done(action: Action) -> bool:
    return action.unit.cell is not None and action.decision is Decision.REUSE


def _know_kernels(shop: Workshop, release: str) -> None:
    """As if each kernel's packages had been read: they hold what those of the real one hold."""
    kernels: dict[str, Kernel] = {u.cell.kernel.release: u.cell.kernel for u in shop.configuration.units if u.cell}
    (buildroot,) = (found for found in map(known, shop.facts.buildroots.values()) if found is not None)
    model = shop.store.folder("prepared", kernel_key(kernels[release], buildroot))
    if model is None:
        raise BenchmarkError(f"{release} was not read")
    for number, kernel in enumerate(kernels.values()):
        if kernel.release != release:
            sha256 = f"{number:064x}"

            def fill(folder: Path, sha256: str = sha256) -> None:
                shutil.copytree(model, folder, dirs_exist_ok=True)
                read = json.loads((folder / "kernel.json").read_text())
                (folder / "kernel.json").write_text(json.dumps({**read, "sha256": sha256}))

            shop.store.put_folder("prepared", kernel_key(kernel, buildroot), fill)


def _finish(shop: Workshop, model: Action, action: Action, old: str, new: str) -> None:
    """A result like another, of another kernel, with a verdict."""
    assert action.key is not None
    assert model.key is not None
    like = shop.store.result(model.key)
    document = shop.store.ledger.verdict(verdict_key(model.key), LEVEL)
    if like is None or document is None:
        raise BenchmarkError(f"{model.unit.id} was not built")

    def fill(folder: Path) -> BuildResult:
        made = []
        for artifact in like.artifacts:
            path = folder / artifact.path.name.replace(old, new)
            path.write_bytes(renamed(artifact.path.read_bytes(), old, new))
            made.append(read_artifact(path))
        return replace(
            like, key=str(action.key), unit_id=action.unit.scope, artifacts=tuple(made), source=None, folder=folder
        )

    shop.store.add_result(action.key, action.unit.scope, 1.0, fill)
    shop.store.ledger.record_verdict(verdict_key(action.key), LEVEL, ok=True, document=document.replace(old, new))


REPEAT_LARGE = Benchmark(
    name="repeat-2000",
    work=f"repobuild matrix again, {CELLS:,} finished cells and the packages around them published, nothing to do",
    peer="none",
    note=f"A whole process, as `repeat`: {KERNELS} kernels × {len(VERSIONS)} drivers × 2 flavors, 8 streams. Preparing "
    "it signs, proves and publishes all of it: some ten minutes.",
    prepare=_prepare,
    target=Target(seconds=3, peak=500 * 1_000_000),
)
