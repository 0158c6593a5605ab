"""``json_text`` writes what ``json.dumps`` writes."""

from __future__ import annotations

import json
import random
from typing import Any

import pytest

from builder.model.json_text import json_text

PLAIN: tuple[Any, ...] = (None, True, False, 0, -7, 1.5, 1e300, "", "a", 'q"\\\n\t', "ä€😀", "\u2028", "a,\n b: c")


def some(chance: random.Random, depth: int) -> Any:
    kind = chance.randrange(5)
    if depth == 0 or kind < 2:
        return chance.choice(PLAIN)
    count = chance.randrange(4)
    if kind == 2:
        return {
            chance.choice((*(str(p) for p in PLAIN), "x", 3, None, 2.5)): some(chance, depth - 1) for _ in range(count)
        }
    members = [some(chance, depth - 1) for _ in range(count)]
    return tuple(members) if kind == 3 else members


@pytest.mark.parametrize("ensure_ascii", [True, False])
@pytest.mark.parametrize("indent", [0, 1, 2])
def test_its_bytes_are_those_of_json_dumps(indent: int, *, ensure_ascii: bool) -> None:
    chance = random.Random(1)
    for _ in range(1500):
        document = some(chance, 5)
        wanted = json.dumps(document, indent=indent, ensure_ascii=ensure_ascii)
        assert json_text(document, indent=indent, ensure_ascii=ensure_ascii) == wanted


def test_what_json_cannot_hold_is_refused_as_json_does() -> None:
    with pytest.raises(TypeError, match="not JSON serializable"):
        json_text({"a": {"b": {1, 2}}}, indent=1)
