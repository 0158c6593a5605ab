"""``supported-gpus/supported-gpus.json`` of a .run: which GPUs a driver drives.

Shape (read from public consumers of it): ``{"chips": [{"devid": "0x1E04", "name": …, "features": ["kernelopen", …],
"legacybranch": "580.xx", "subvendorid": …, "subdevid": …}, …]}``. A chip with ``legacybranch`` is one that this driver
does not drive any more, that branch being its last; ``kernelopen``: the open modules drive it. A ``devid`` that is no
number says nothing of a host and is passed over.
"""

from __future__ import annotations

import json
import re
from typing import Any

from builder.errors import SourceError
from builder.model.sources import Gpu

PATH = "supported-gpus/supported-gpus.json"  # below the archive's top
_DEVICE = re.compile(r"0x([0-9A-Fa-f]{4})")
_OPEN = "kernelopen"


def parse_gpus(text: str, where: str) -> tuple[Gpu, ...]:
    """Every GPU that is named, by device id; boards of one id are one GPU, of its first name.

    Raises SourceError for text of another shape: that a list cannot be read should be noticed when it comes.
    """
    try:
        chips = json.loads(text)["chips"]
        found: dict[str, Gpu] = {}
        for chip in chips:
            match = _DEVICE.fullmatch(chip["devid"])
            if match is not None:
                gpu = _gpu(match[1].lower(), chip)
                known = found.setdefault(gpu.device, gpu)
                # Boards of one chip can differ: it is driven where any of them is.
                found[gpu.device] = Gpu(
                    device=gpu.device,
                    name=known.name,
                    open=known.open or gpu.open,
                    last_branch=_later(known.last_branch, gpu.last_branch),
                )
    except (ValueError, KeyError, TypeError, AttributeError) as exc:
        raise SourceError(
            f"{where}: {PATH} cannot be read: {exc.__class__.__name__}: {exc}",
            hint="NVIDIA changed its shape: builder/fetch/gpus.py has to learn it",
        ) from exc
    return tuple(found[device] for device in sorted(found))


def _later(one: str | None, other: str | None) -> str | None:
    return None if one is None or other is None else max(one, other, key=int)


def _gpu(device: str, chip: dict[str, Any]) -> Gpu:
    legacy = chip.get("legacybranch")
    return Gpu(
        device=device,
        name=" ".join(str(chip["name"]).split()),
        open=_OPEN in (chip.get("features") or ()),
        last_branch=None if legacy is None else str(legacy).split(".")[0],
    )
