"""Keys of units that were planned before: rendering ten thousand specs takes long, and says the same each time.

A unit's spec and key follow from values that are compared here by their digests: driver, sources, buildroot, kernel,
matrix, builder, signer, and the program with its templates. A cell's do not depend on other kernels, drivers or
streams, so a kernel that comes makes no other cell new; what is left out of a cell's digest is not given to the
renderers either (``narrowed``).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import jinja2

import builder
from builder.model.cells import Cell, Unit
from builder.model.matrix import Kernel, Matrix
from builder.model.sources import Buildroot, KernelDevel
from builder.pipeline.kernels import requirements_digest
from builder.pipeline.workshop import Workshop, known, sources_of
from builder.plan.toolchain import toolchain_fault
from builder.render import template_folder

_KIND = "key"  # of rows: digest of what a unit is made of → [digest of its content, {serial: key}]


def narrowed(cell: Cell, matrix: Matrix) -> tuple[Cell, Matrix]:
    """Both without what no cell's specs may depend on: other kernels, other drivers, streams."""
    alone = replace(cell, distribution=replace(cell.distribution, kernels=()))
    return alone, replace(matrix, distributions=(), branches=(), excludes=(), streams=())


class KnownKeys:
    """What planning knows of the units of one run; ``prepare`` asks for all at once, ``keep`` keeps what was new."""

    def __init__(self, shop: Workshop) -> None:
        self.shop = shop
        self._names: dict[str, str] = {}  # by unit id
        self._rows: dict[str, tuple[str, dict[str, str]]] = {}
        self._fresh: set[str] = set()
        self._said: dict[int, tuple[object, str]] = {}  # digests by the object's id, which lives as long as this
        self._faults: dict[tuple[int, int, int], tuple[object, str | None]] = {}
        matrix = shop.configuration.matrix
        self._alone = _digest(replace(matrix, distributions=(), branches=(), excludes=(), streams=()))
        self._run = f"{program_digest()} {shop.builder.recipe} {shop.signing.identity} {shop.signing.name}"

    def prepare(self, units: Sequence[Unit]) -> None:
        """Look up every unit whose sources, buildroot and kernel are known."""
        self._names = {unit.id: name for unit in units if (name := self._name(unit)) is not None}
        found = self.shop.store.derived.get(_KIND, list(self._names.values()))
        for name, row in found.items():
            content, keys = json.loads(row)
            self._rows[name] = (content, keys)

    def content(self, unit: Unit) -> str | None:
        """The digest that the serial of a cell's package stands for, None where it has to be rendered."""
        row = self._rows.get(self._names.get(unit.id, ""))
        return row[0] if row else None

    def key(self, unit: Unit, serial: int) -> str | None:
        """The key of a cell's package of that serial, None where it has to be rendered."""
        row = self._rows.get(self._names.get(unit.id, ""))
        return row[1].get(str(serial)) if row else None

    def learn(self, unit: Unit, content: str, serial: int, key: str) -> None:
        """Remember what was rendered."""
        name = self._names.get(unit.id)
        if name is not None:
            _, keys = self._rows.get(name, (content, {}))
            self._rows[name] = (content, {**keys, str(serial): key})
            self._fresh.add(name)

    def keep(self) -> None:
        """Write down what was learned."""
        rows = {name: json.dumps(self._rows[name]).encode() for name in sorted(self._fresh)}
        self.shop.store.derived.put(_KIND, rows)
        self._fresh.clear()

    def toolchain_fault(self, kernel: Kernel, devel: KernelDevel, buildroot: Buildroot | None) -> str | None:
        """As plan's, asked once a kernel instead of once a cell."""
        asked = (id(kernel), id(devel), id(buildroot))
        if asked not in self._faults:
            fault = toolchain_fault(kernel, devel, buildroot.packages if buildroot else ())
            self._faults[asked] = ((kernel, devel, buildroot), fault)
        return self._faults[asked][1]

    def _name(self, unit: Unit) -> str | None:
        facts, cell = self.shop.facts, unit.cell
        own: tuple[str, ...]
        sources = known(sources_of(self.shop, unit))
        buildroot = known(facts.buildroots.get(self.shop.chroot(unit).name))
        if sources is None or buildroot is None:
            return None
        if cell is not None:
            devel = known(facts.kernels.get((unit.distribution.name, cell.kernel.release)))
            if devel is None:
                return None
            own = (
                self._alone,
                self._say(cell.kernel),
                self._of_distribution(unit),
                devel.sha256,
                requirements_digest(devel),
            )
        else:  # a package around a driver may depend on everything
            labels = (unit.kind, unit.kmods, unit.stream, unit.label)
            own = (self._say(self.shop.configuration.matrix), self._say(unit.distribution), *map(str, labels))
        parts = (
            self._run,
            *own,
            self._say(unit.driver),
            self._say(sources) if cell is not None else _digest(sources),
            f"{unit.flavor} {unit.newest} {unit.arch}",
            buildroot.identity,
            self._say(buildroot.chroot),
        )
        return hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def _of_distribution(self, unit: Unit) -> str:
        distribution = unit.distribution
        if id(distribution) not in self._said:
            self._said[id(distribution)] = (distribution, _digest(replace(distribution, kernels=())))
        return self._said[id(distribution)][1]

    def _say(self, value: object) -> str:
        if id(value) not in self._said:
            self._said[id(value)] = (value, _digest(value))
        return self._said[id(value)][1]


def _digest(value: object) -> str:
    """Of a frozen dataclass: its repr names every field, and those of what is in them."""
    return hashlib.sha256(repr(value).encode()).hexdigest()


@cache
def program_digest() -> str:
    """Everything that makes specs and keys of values: this program, its templates, the library that fills them."""
    top = Path(builder.__file__).parent
    folders = [top / name for name in ("model", "plan", "render", "pipeline")]
    files = [path for folder in folders for path in folder.glob("*.py")] + list(template_folder("specs").iterdir())
    said = hashlib.sha256(jinja2.__version__.encode())
    for path in sorted(files):
        if path.is_file():
            said.update(path.name.encode() + b"\0" + path.read_bytes())
    return said.hexdigest()
