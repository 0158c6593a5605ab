"""result.json: what a result folder holds, written when it is filled and checked when it is read."""

from __future__ import annotations

import json
from pathlib import Path

from builder.errors import StoreError
from builder.model.cells import Artifact, BuildResult
from builder.model.nevra import Evr, Nevra

RESULT_FILE = "result.json"


def _artifact_document(artifact: Artifact) -> dict[str, object]:
    nevra = artifact.nevra
    return {
        "name": nevra.name,
        "epoch": nevra.evr.epoch,
        "version": nevra.evr.version,
        "release": nevra.evr.release,
        "arch": nevra.arch,
        "file": artifact.path.name,
        "size": artifact.size,
        "sha256": artifact.sha256,
    }


def result_document(result: BuildResult) -> dict[str, object]:
    """What result.json holds."""
    return {
        "key": result.key,
        "unit": result.unit_id,
        "seconds": result.seconds,
        "serial": result.serial,
        "content": result.content,
        "source_date_epoch": result.source_date_epoch,
        "signer": result.signer,
        "artifacts": [_artifact_document(a) for a in result.artifacts],
        "source": _artifact_document(result.source) if result.source else None,
    }


def _artifact(folder: Path, document: dict[str, object]) -> Artifact:
    evr = Evr(epoch=int(str(document["epoch"])), version=str(document["version"]), release=str(document["release"]))
    return Artifact(
        nevra=Nevra(name=str(document["name"]), evr=evr, arch=str(document["arch"])),
        path=folder / str(document["file"]),
        size=int(str(document["size"])),
        sha256=str(document["sha256"]),
    )


def read_result(folder: Path, key: str | None = None) -> BuildResult:
    """Read a result folder; raises StoreError when it is not what was recorded, or not of ``key``."""
    try:
        document = json.loads((folder / RESULT_FILE).read_text())
        artifacts = tuple(_artifact(folder, a) for a in document["artifacts"])
        source = _artifact(folder, document["source"]) if document["source"] else None
        damaged = [a.path for a in (*artifacts, *([source] if source else ())) if a.path.stat().st_size != a.size]
    except (OSError, ValueError, KeyError) as exc:
        raise StoreError(
            f"{folder}: this result is damaged: {exc}", hint="remove the folder; the next run builds it again"
        ) from exc
    if key not in (None, document["key"]):
        raise StoreError(f"it is the result of {document['key'][:12]}")
    if damaged:
        raise StoreError(
            f"{damaged[0]}: size differs from what was recorded",
            hint=f"remove {folder}; the next run builds it again",
        )
    return BuildResult(
        key=document["key"],
        unit_id=document["unit"],
        artifacts=artifacts,
        source=source,
        folder=folder,
        seconds=document["seconds"],
        serial=document["serial"],
        content=document["content"],
        source_date_epoch=document["source_date_epoch"],
        signer=document.get("signer", ""),
    )
