"""YAML files as trees that remember the line of every value, so that each mistake can name one.

Composes nodes with libyaml (marks are kept) and builds plain values with PyYAML's own rules. Duplicate keys, keys that
YAML would read as numbers, merge keys and endless aliases are mistakes here, because a plain load would hide them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import yaml

from builder.errors import Mistake

_Loader: type[yaml.SafeLoader] = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_MAX_NODES = 200_000  # an alias bomb ends here; the largest honest matrix has about a tenth
Scalar = str | int | float | bool | None | object  # object: dates, which no field of ours takes
Location = Sequence[str | int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Node:
    """One value of a YAML file: a scalar, a mapping or a list, with the line where it starts."""

    line: int  # 1-based; for an entry of a mapping the line of its key
    kind: str  # scalar, mapping, list
    value: Scalar = None  # of a scalar, as YAML reads it
    raw: str = ""  # of a scalar, as the user typed it
    entries: dict[str, Node] = field(default_factory=dict)
    elements: tuple[Node, ...] = ()

    @property
    def text(self) -> str | None:
        """The value of a scalar that YAML reads as text; None for everything else."""
        return self.value if isinstance(self.value, str) else None

    def get(self, key: str) -> Node:
        """An entry of a mapping; an empty node on this node's line where there is none."""
        return self.entries.get(key) or Node(line=self.line, kind="missing")

    def texts(self) -> tuple[str, ...]:
        """The elements of a list that are text."""
        return tuple(e.text for e in self.elements if e.text is not None)

    def plain(self) -> object:
        """The value without lines: what ``yaml.safe_load`` would give, as far as it can be read."""
        if self.kind == "mapping":
            return {key: node.plain() for key, node in self.entries.items()}
        if self.kind == "list":
            return [node.plain() for node in self.elements]
        return self.value

    def at(self, location: Location) -> Node:
        """The node at a path of keys and indexes, or the nearest one above it that exists."""
        node = self
        for step in location:
            if isinstance(step, int) and node.kind == "list" and step < len(node.elements):
                node = node.elements[step]
            elif isinstance(step, str) and step in node.entries:
                node = node.entries[step]
            else:
                break
        return node


EMPTY = Node(line=0, kind="missing")


def read_yaml(path: Path, mistakes: list[Mistake]) -> Node | None:
    """The tree of one file; None (with a mistake added) where it cannot be read or is not YAML."""
    name = str(path)
    try:
        data = path.read_bytes()
        text = data.decode()
    except OSError as exc:
        mistakes.append(Mistake(file=name, line=0, message=f"cannot be read: {exc.strerror}"))
        return None
    except UnicodeDecodeError as exc:
        line = data.count(b"\n", 0, exc.start) + 1
        mistakes.append(Mistake(file=name, line=line, message=f"byte 0x{data[exc.start]:02x} is not UTF-8 text"))
        return None
    return parse_yaml(text, name, mistakes)


def parse_yaml(text: str, name: str, mistakes: list[Mistake]) -> Node | None:
    """The tree of a YAML text; ``name`` is how mistakes call the file."""
    try:
        top = yaml.compose(text, Loader=_Loader)
    except yaml.MarkedYAMLError as exc:
        mark = exc.problem_mark or exc.context_mark
        problem = " ".join(filter(None, (exc.context, exc.problem)))
        line = mark.line + 1 if mark else 0
        mistakes.append(Mistake(file=name, line=line, message=f"not YAML: {problem}"))
        return None
    except yaml.reader.ReaderError as exc:
        line = text.count("\n", 0, exc.position) + 1
        mistakes.append(Mistake(file=name, line=line, message=f"not YAML: {exc.reason}"))
        return None
    if top is None:
        mistakes.append(Mistake(file=name, line=1, message="the file is empty"))
        return None
    if not isinstance(top, yaml.MappingNode):
        mistakes.append(Mistake(file=name, line=1, message=f"a mapping is wanted, a {_kind(top)} stands here"))
        return None
    return _Reader(name, mistakes).read(top, top.start_mark.line + 1)


def _kind(node: yaml.Node) -> str:
    return {"MappingNode": "mapping", "SequenceNode": "list"}.get(type(node).__name__, "scalar")


class _Reader:
    """Turns composed nodes into ours and collects what a plain load would hide."""

    def __init__(self, name: str, mistakes: list[Mistake]) -> None:
        self._name = name
        self._mistakes = mistakes
        self._above: list[yaml.Node] = []  # to see aliases that hold themselves
        self._count = 0
        self._constructor = yaml.constructor.SafeConstructor()

    def read(self, node: yaml.Node, line: int) -> Node:
        self._count += 1
        if node in self._above or self._count > _MAX_NODES:
            if self._count <= _MAX_NODES + 1:
                self._mistake(line, "an alias (*name) that holds itself, or far too many of them: write the values out")
            return Node(line=line, kind="missing")
        if isinstance(node, yaml.ScalarNode):
            return Node(line=line, kind="scalar", value=self._scalar(node), raw=node.value)
        self._above.append(node)
        try:
            if isinstance(node, yaml.SequenceNode):
                elements = tuple(self.read(child, child.start_mark.line + 1) for child in node.value)
                return Node(line=line, kind="list", elements=elements)
            return Node(line=line, kind="mapping", entries=dict(self._entries(node)))
        finally:
            self._above.pop()

    def _entries(self, node: yaml.Node) -> Iterator[tuple[str, Node]]:
        seen: dict[str, int] = {}
        for key_node, child in node.value:
            line = key_node.start_mark.line + 1
            key = self._key(key_node, line)
            if key is None:
                continue
            if key in seen:
                self._mistake(line, f"{key!r} stands here a second time; first on line {seen[key]}")
                continue
            seen[key] = line
            yield key, self.read(child, line)

    def _key(self, node: yaml.Node, line: int) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            self._mistake(line, f"a {_kind(node)} cannot be a key: a name is wanted")
            return None
        if node.tag == "tag:yaml.org,2002:merge":
            self._mistake(line, "merge keys (<<) are not supported: write the entries out")
            return None
        if node.tag != "tag:yaml.org,2002:str":
            self._mistake(line, f'the key {node.value} is not text to YAML: quote it ("{node.value}")')
        return str(node.value)

    def _scalar(self, node: yaml.ScalarNode) -> Scalar:
        tag = node.tag.removeprefix("tag:yaml.org,2002:")
        if tag not in {"str", "int", "float", "bool", "null", "timestamp"}:
            self._mistake(node.start_mark.line + 1, f"tag {node.tag} is not supported: write a plain value")
            return str(node.value)
        try:
            return self._constructor.construct_object(node)  # type: ignore[no-any-return]
        except (ValueError, yaml.constructor.ConstructorError):
            return str(node.value)

    def _mistake(self, line: int, message: str) -> None:
        self._mistakes.append(Mistake(file=self._name, line=line, message=message))
