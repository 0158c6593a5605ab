"""inputs.json: what a result was made from. Read to explain a key, never to decide anything."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from builder.model.keys import Inputs, KeyParts

INPUTS_FILE = "inputs.json"


def write_inputs(inputs: Inputs, folder: Path) -> None:
    """Describe what the result in ``folder`` is made from."""
    (folder / INPUTS_FILE).write_text(json.dumps(asdict(inputs), indent=1, sort_keys=True))


def read_inputs(folder: Path) -> Inputs | None:
    """What a result was made from; None where nothing readable was recorded (an earlier repobuild built it)."""
    try:
        document = json.loads((folder / INPUTS_FILE).read_text())
        modules = document.pop("modules")
        packages = tuple(str(line) for line in document.pop("packages"))
        requirements = tuple(str(line) for line in document.pop("requirements", ()))
        return Inputs(
            **{**document, "parts": _parts(document["parts"])},
            modules=None if modules is None else _parts(modules),
            packages=packages,
            requirements=requirements,
        )
    except (OSError, ValueError, KeyError, TypeError, AttributeError):
        return None


def _parts(document: Mapping[str, Any]) -> KeyParts:
    pairs = {name: tuple((str(a), str(b)) for a, b in document[name]) for name in ("sources", "macros", "parts")}
    return KeyParts(**{**document, **pairs})
