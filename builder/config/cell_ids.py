"""Which cell ids the files ask for, computed from raw trees: ``plan`` does it on the checked model.

Only for the question whether a rule or a patch matches anything while other parts may still be wrong. A stream that
cannot be read does not narrow the cells, so that it never makes a second, false mistake.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cmp_to_key

from builder.config.fileset import FileSet
from builder.config.nodes import Node
from builder.model.matrix import Flavor, Kmods
from builder.model.nevra import compare_evr

NEWEST = "newest-complete"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawCell:
    """A cell that the files ask for."""

    label: str  # of the id, before the @
    kernel: Node
    branch: str
    version: str  # of the driver
    flavor: Flavor

    @property
    def id(self) -> str:
        """As ``plan`` will call it."""
        return f"{self.label}@{self.kernel.get('release').text}"


def raw_cells(files: FileSet) -> Iterator[RawCell]:
    """Every cell, the excluded ones included, in file order."""
    known: dict[tuple[str, str | None], list[tuple[str, str, str, Flavor]]] = {}
    for kernel in files.kernels():
        release, distribution = kernel.get("release").text, kernel.get("distribution").text
        if release and distribution:
            like = (distribution, kernel.get("arch").text)  # kernels that are alike in this have the same cells
            if like not in known:
                known[like] = list(_for_kernels(files, *like))
            for label, branch, version, flavor in known[like]:
                yield RawCell(label=label, kernel=kernel, branch=branch, version=version, flavor=flavor)


def cell_ids(files: FileSet) -> list[str]:
    """The ids of all cells, in file order."""
    return [cell.id for cell in raw_cells(files)]


def _for_kernels(files: FileSet, distribution: str, arch: str | None) -> Iterator[tuple[str, str, str, Flavor]]:
    """Label, branch, driver version and flavor of the cells that each kernel of a distribution × arch has."""
    for branch, node in files.branches().items():
        drivers = node.get("drivers").elements
        versions = [d.get("version").text for d in drivers]
        newest = max((v for v in versions if v), key=cmp_to_key(compare_evr), default=None)
        for driver, version in zip(drivers, versions, strict=True):
            if version is None or not _has_run(driver.get("sources").elements, arch):
                continue
            for flavor in Flavor:
                if flavor.value in driver.get("flavors").texts() and _offered(files, distribution, branch, flavor):
                    label = f"r{branch}{flavor.suffix}" + ("" if version == newest else f":{version}")
                    yield label, branch, version, flavor


def _has_run(sources: tuple[Node, ...], arch: str | None) -> bool:
    return any(s.get("kind").text == "run" and s.get("arch").text == arch for s in sources)


def _offered(files: FileSet, distribution: str, branch: str, flavor: Flavor) -> bool:
    if not files.readable:
        return True
    return any(_may(stream.node, distribution, branch, flavor, files.branches()) for stream in files.streams)


def _may(stream: Node, distribution: str, branch: str, flavor: Flavor, branches: Mapping[str, Node]) -> bool:
    name, wanted, kmods = (stream.get(key).text for key in ("branch", "flavor", "kmods"))
    if wanted not in set(Flavor) or kmods not in set(Kmods) or (name != NEWEST and name not in branches):
        return True  # broken: it says nothing
    places = stream.get("distributions")
    offered = places.kind == "missing" or not places.elements or distribution in places.texts()
    return offered and kmods == Kmods.PRECOMPILED and wanted == flavor and name in (NEWEST, branch)
