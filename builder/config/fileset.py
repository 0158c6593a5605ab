"""The files of one configuration as trees, before anybody knows whether they are right."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from builder.config.nodes import EMPTY, Node, read_yaml
from builder.errors import Mistake

DEFAULT_MOCK_CONFIGS = "mock-configs"
# The program's own templates: below builder/data/ in a wheel, at the top of a checkout (pyproject.toml, force-include).
_PACKAGE = Path(__file__).resolve().parents[1]
_OWN_MOCK_CONFIGS = (_PACKAGE / "data" / DEFAULT_MOCK_CONFIGS, _PACKAGE.parent / DEFAULT_MOCK_CONFIGS)


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamTree:
    """One stream file."""

    file: str
    expected: str  # the stream name that the file name promises
    node: Node


@dataclass(frozen=True, slots=True, kw_only=True)
class FileSet:
    """What was read; a file that is no YAML is missing here and named in the mistakes."""

    matrix_file: str
    folder: Path  # absolute; relative paths of matrix.yaml start here
    streams_folder: str
    matrix: Node
    streams: tuple[StreamTree, ...]
    readable: bool  # every file was YAML
    templates: dict[str, Path]  # mock configuration templates by file name
    templates_folder: Path

    def distributions(self) -> dict[str, Node]:
        """Distributions by name."""
        return self.matrix.get("distributions").entries

    def branches(self) -> dict[str, Node]:
        """Branches by name."""
        return self.matrix.get("branches").entries

    def kernels(self) -> tuple[Node, ...]:
        """Kernels in file order."""
        return self.matrix.get("kernels").elements

    def drivers(self) -> Iterator[tuple[str, Node]]:
        """Branch name and driver, in file order."""
        for name, branch in self.branches().items():
            for driver in branch.get("drivers").elements:
                yield name, driver


def read_files(matrix: Path, streams: Path, mistakes: list[Mistake]) -> FileSet:
    """Read matrix.yaml and every streams/*.yaml; files that cannot be read are mistakes."""
    folder = matrix.absolute().parent
    node = read_yaml(matrix, mistakes)
    trees = []
    readable = node is not None
    for path in _stream_files(streams, mistakes):
        tree = read_yaml(path, mistakes)
        readable = readable and tree is not None
        if tree is not None:
            trees.append(StreamTree(file=str(path), expected=path.stem, node=tree))
    templates_folder = _templates_folder(folder, node or EMPTY)
    return FileSet(
        matrix_file=str(matrix),
        folder=folder,
        streams_folder=str(streams),
        matrix=node or EMPTY,
        streams=tuple(trees),
        readable=readable,
        templates={path.name: path for path in sorted(templates_folder.glob("[!_]*.cfg.j2"))},
        templates_folder=templates_folder,
    )


def _stream_files(folder: Path, mistakes: list[Mistake]) -> list[Path]:
    found = sorted(path for path in folder.glob("*") if path.is_file() and not path.name.startswith("."))
    mistakes += [
        Mistake(file=str(path), line=0, message=f"not read: a stream's file is named {path.stem}.yaml")
        for path in found
        if path.suffix != ".yaml"
    ]
    streams = [path for path in found if path.suffix == ".yaml"]
    if not streams:
        mistakes.append(Mistake(file=str(folder), line=0, message="no stream file (<stream>.yaml) in this folder"))
    return streams


def _templates_folder(folder: Path, matrix: Node) -> Path:
    named = matrix.get("mock_configs").text
    if named:
        return folder / named
    beside = folder / DEFAULT_MOCK_CONFIGS
    return next((place for place in (beside, *_OWN_MOCK_CONFIGS) if place.is_dir()), beside)
