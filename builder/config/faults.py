"""What pydantic found, in the words of the person who wrote the file: where, what stands there, what is allowed."""

from __future__ import annotations

import difflib
import types
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from builder.config.nodes import Location, Node
from builder.config.schema import PATTERNS
from builder.errors import Mistake

_WANTED = {
    "string_type": "text",
    "int_type": "a whole number",
    "bool_type": "true or false",
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "model_attributes_type": "a mapping",
}
Model = TypeVar("Model", bound=BaseModel)


def suggest(word: str, known: Iterable[str]) -> str:
    """``, did you mean 'x'?`` where a known word is near, ``""`` where none is."""
    near = nearest(word, known)
    return f", did you mean {near!r}?" if near else ""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """The known word that is most like this one, None where none is near."""
    return next(iter(difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)), None)


def allowed(known: Iterable[str]) -> str:
    """``(allowed: a, b)``; ``(there are none)`` for nothing."""
    words = list(known)
    return f"(allowed: {', '.join(words)})" if words else "(there are none)"


def find_twice(nodes: Iterable[Node], where: str, why: str = "") -> Iterator[tuple[int, str]]:
    """Line and message of every text that stands in a list more than once."""
    seen: dict[str, int] = {}
    for node in nodes:
        if node.text is None:
            continue
        if node.text in seen:
            tail = f" ({why})" if why else ""
            yield node.line, f"{where}: {node.text!r} stands here a second time; first on line {seen[node.text]}{tail}"
        seen.setdefault(node.text, node.line)


def validate(model: type[Model], node: Node, file: str, mistakes: list[Mistake]) -> Model | None:
    """The values of a file, or None with every mistake of its shape added."""
    try:
        return model.model_validate(node.plain(), by_alias=True)
    except ValidationError as exc:
        errors = exc.errors(include_url=False)
    meant: set[tuple[str | int, ...]] = set()  # required keys that a misspelt one stands for: one mistake, not two
    for error in errors:
        if error["type"] == "extra_forbidden":
            *above, word = _real(error["loc"])
            near = nearest(str(word), _free_keys(model, above, node))
            meant |= {(*above, near)} if near else set()
    found = [
        _mistake(error, model, node, file)
        for error in errors
        if not (error["type"] == "missing" and _real(error["loc"]) in meant)
    ]
    mistakes.extend(dict.fromkeys(found))  # a union tells of each of its members
    return None


def _free_keys(model: type[BaseModel], location: Location, top: Node) -> list[str]:
    return [key for key in _keys(model, location) if key not in top.at(location).entries]


def path_text(location: Location) -> str:
    """``branches.535.drivers[0].version``."""
    text = ""
    for step in location:
        text += f"[{step}]" if isinstance(step, int) else f".{step}" if text else step
    return text


def _mistake(error: ErrorDetails, model: type[BaseModel], top: Node, file: str) -> Mistake:
    location = _real(error["loc"])
    if error["type"] == "missing":
        parent = top.at(location[:-1])
        prefix = f"{path_text(location[:-1])}: " if location[:-1] else ""
        return Mistake(file=file, line=parent.line, message=f"{prefix}the key {str(location[-1])!r} is missing")
    node = top.at(location)
    where = path_text(location)
    if error["type"] == "extra_forbidden":
        known = _keys(model, location[:-1])
        near = suggest(str(location[-1]), _free_keys(model, location[:-1], top))
        return Mistake(file=file, line=node.line, message=f"{where}: unknown key{near} {allowed(known)}")
    return Mistake(file=file, line=node.line, message=f"{where}: {_message(error, node)}")


def _real(location: Location) -> tuple[str | int, ...]:
    """The location without what pydantic adds for the members of a union."""
    return tuple(step for step in location if not (isinstance(step, str) and step.startswith("literal[")))


def _message(error: ErrorDetails, node: Node) -> str:
    kind, context = error["type"], error.get("ctx", {})
    empty = node.kind == "scalar" and node.value is None
    value = "nothing" if empty else repr(node.raw) if node.kind == "scalar" else f"a {node.kind}"
    if kind == "string_type" and node.kind == "scalar" and not empty:
        return f'{node.raw} is not text to YAML: quote it ("{node.raw}")'
    if kind in _WANTED:
        return f"{value} stands here, {_WANTED[kind]} is wanted"
    if kind in {"literal_error", "enum"}:
        choices = [choice.strip("'") for choice in str(context["expected"]).replace(" or ", ", ").split(", ")]
        return f"unknown value {value}{suggest(node.raw, choices)} {allowed(choices)}"
    if kind == "string_pattern_mismatch":
        return f"{value} is not {PATTERNS[str(context['pattern'])]}"
    if kind in {"too_short", "string_too_short"}:
        return "empty; at least one is needed" if kind == "too_short" else "empty text"
    if kind == "greater_than_equal":
        return f"{value} is too small (at least {context['ge']})"
    return f"{value}: {error['msg']}"


def _keys(model: type[BaseModel], location: Location) -> list[str]:
    """The keys that may stand at a location, in the order of the schema."""
    here: Any = model
    for step in location:
        here = _step(here, step)
    if isinstance(here, type) and issubclass(here, BaseModel):
        return [info.alias or name for name, info in here.model_fields.items()]
    return []


def _step(annotation: Any, step: str | int) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        for name, info in annotation.model_fields.items():
            if step in (name, info.alias):
                return _bare(info.annotation)
        return None
    arguments = get_args(annotation)
    return _bare(arguments[-1]) if arguments else None


def _bare(annotation: Any) -> Any:
    """The type inside Annotated[…] and Optional[…]."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _bare(get_args(annotation)[0])
    if origin in (Union, types.UnionType):
        return next((_bare(a) for a in get_args(annotation) if a is not type(None)), None)
    return None if origin is Literal else annotation
