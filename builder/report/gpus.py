"""Which GPUs a stream drives and which it does not any more: for the report, for people, for machines. Pure."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from typing import Any

from builder.model.matrix import Flavor
from builder.model.report import SupportGpus, UndrivenGpus
from builder.model.sources import Gpu

FILE = "supported-gpus.json"  # in a publication
SCHEMA = 1
_NAMED = 3  # examples


def stream_gpus(
    driver_version: str, flavor: Flavor, gpus: Sequence[Gpu], branches: Collection[str]
) -> SupportGpus | None:
    """What a stream says of GPUs whose newest driver has this list; None where the driver has none.

    Only branches of the matrix are named as the last of a GPU: what no stream can drive helps nobody. Proprietary
    modules are taken to drive whatever the list has; it does not say which GPUs need the open ones.
    """
    if not gpus:
        return None
    current = [gpu for gpu in gpus if gpu.last_branch is None]
    driven = [gpu for gpu in current if gpu.open or flavor is Flavor.PROPRIETARY]
    undriven = []
    if len(driven) < len(current):
        undriven.append(_undriven(None, [gpu for gpu in current if gpu not in driven]))
    ended = {gpu.last_branch for gpu in gpus if gpu.last_branch is not None} & set(branches)
    newest_first = sorted(ended, key=int, reverse=True)
    undriven += [_undriven(branch, [gpu for gpu in gpus if gpu.last_branch == branch]) for branch in newest_first]
    return SupportGpus(
        driver_version=driver_version,
        driven=tuple((gpu.device, gpu.name) for gpu in driven),
        undriven=tuple(undriven),
    )


def _undriven(branch: str | None, gpus: Sequence[Gpu]) -> UndrivenGpus:
    names = tuple(dict.fromkeys(gpu.name for gpu in gpus))
    return UndrivenGpus(last_branch=branch, devices=tuple(gpu.device for gpu in gpus), examples=names[:_NAMED])


def gpus_sentences(gpus: SupportGpus) -> str:
    """For a stream's description: which GPUs it leaves out, and where they are driven; empty where there are none."""
    return " ".join(_sentence(group) for group in gpus.undriven)


def _sentence(group: UndrivenGpus) -> str:
    number, named = len(group.devices), ", ".join(group.examples)
    if number > len(group.examples):
        named += " …"
    who = f"1 GPU model ({named}) needs" if number == 1 else f"{number} GPU models ({named}) need"
    if group.last_branch is None:
        return f"{who} the proprietary modules."
    return f"{who} branch R{group.last_branch}, the last that drives {'it' if number == 1 else 'them'}."


def gpus_document(gpus: SupportGpus) -> dict[str, Any]:
    """Counts and groups of one stream, for the support matrix."""
    return {
        "driven": len(gpus.driven),
        "not_driven": [
            {"last_branch": g.last_branch, "devices": len(g.devices), "examples": list(g.examples)}
            for g in gpus.undriven
        ],
    }


def gpus_file(streams: Mapping[str, SupportGpus]) -> bytes:
    """``supported-gpus.json`` of a publication: for each stream its driver, the GPUs it drives, and the others.

    Devices are PCI ids of vendor 10de, four lower-case hex digits.
    """
    document = {
        "schema": SCHEMA,
        "vendor": "10de",
        "streams": {
            name: {
                "driver": gpus.driver_version,
                "driven": [{"device": device, "name": name} for device, name in gpus.driven],
                "not_driven": [{"last_branch": g.last_branch, "devices": list(g.devices)} for g in gpus.undriven],
            }
            for name, gpus in sorted(streams.items())
        },
    }
    return (json.dumps(document, indent=1, ensure_ascii=False) + "\n").encode()


def lost_gpus(before: bytes, streams: Mapping[str, SupportGpus]) -> dict[str, tuple[str, tuple[str, ...]]]:
    """By stream: the driver in a former ``supported-gpus.json``, and the GPUs that it drove and this one does not.

    Nothing for a file that cannot be read: it may be of a newer program.
    """
    lost = {}
    try:
        former = json.loads(before)["streams"]
        for name, gpus in sorted(streams.items()):
            if name in former:
                now = {device for device, _ in gpus.driven}
                names = (gpu["name"] for gpu in former[name]["driven"] if gpu["device"] not in now)
                lost[name] = (str(former[name]["driver"]), tuple(dict.fromkeys(names)))
    except (ValueError, KeyError, TypeError):
        return {}
    return {name: found for name, found in lost.items() if found[1]}
