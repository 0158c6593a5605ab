"""The support matrix as a document: kernels × streams, lifetimes, and why something is not offered. Pure.

Its bytes are part of a publication's content, so nothing in it may come from a clock, a path or the order of work.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from builder.model.gpu_generations import driven_by
from builder.model.matrix import Flavor, Kmods
from builder.model.nevra import compare_evr
from builder.model.report import SupportFacts, SupportKernel, SupportOutcome, SupportRow, SupportStream
from builder.report.commands import begin_commands, example_commands, install_commands, switch_commands
from builder.report.gpus import gpus_document
from builder.report.lifetimes import leaving_rows

SCHEMA = 1


def support_matrix(facts: SupportFacts) -> dict[str, Any]:
    """``schema, module, distribution, title, arch, delivery, begin, commands, branches, retention, leaving, signer,
    streams, kernels, cells``.

    ``kernels[].streams`` says for each stream: state (published, dkms, held, failed, blocked, excluded, none), driver
    version, level of qualification, reason. Streams and cells are sorted by name; branches and kernels stay as given.
    """
    lifetimes = {branch.name: branch for branch in facts.branches}
    streams = sorted(facts.streams, key=lambda s: s.name)
    rows: defaultdict[str, list[SupportRow]] = defaultdict(list)  # by kernel release
    for row in facts.rows:
        rows[row.kernel].append(row)
    return {
        "schema": SCHEMA,
        "module": facts.module,
        "distribution": facts.distribution,
        "title": facts.title,
        "arch": facts.arch,
        "delivery": facts.delivery,
        "begin": begin_commands(facts),
        "commands": example_commands(facts),
        "branches": [
            {
                "name": branch.name,
                "type": branch.type,
                "eol": branch.eol,
                "leaves": branch.leaves,
                "max_cuda": branch.max_cuda,
                "gpus": list(branch.gpus),
                "open_gpus": list(driven_by(Flavor.OPEN, branch.gpus)),
                "proprietary_gpus": list(driven_by(Flavor.PROPRIETARY, branch.gpus)),
                "note": branch.note,
            }
            for branch in lifetimes.values()
        ],
        "retention": {"notice_days": facts.notice_days},
        "leaving": leaving_rows(facts),
        "signer": {"name": facts.signer[0], "sha256": facts.signer[1]} if facts.signer else None,
        "streams": [_stream(stream, facts) for stream in streams],
        "kernels": [
            {
                "release": kernel.release,
                "variant": kernel.variant,
                "package": kernel.package,
                "built": kernel.built,
                "published": kernel.published,
                "live": kernel.live,
                "eol": kernel.eol,
                "leaves": kernel.leaves,
                "streams": {stream.name: _offer(stream, kernel, rows[kernel.release]) for stream in streams},
            }
            for kernel in facts.kernels
        ],
        "cells": [_cell(row) for row in sorted(facts.rows, key=lambda r: r.cell)],
    }


def support_json(document: dict[str, Any]) -> bytes:
    """The document as JSON, keys in its own order."""
    return (json.dumps(document, indent=2, ensure_ascii=False) + "\n").encode()


def _stream(stream: SupportStream, facts: SupportFacts) -> dict[str, Any]:
    newest = stream.driver_versions[-1] if stream.driver_versions else None
    known = {row.driver_version: row.branch for row in facts.rows}
    return {
        "name": stream.name,
        "default": stream.default,
        "branch": stream.branch or (known.get(newest) if newest else None),
        "follows_newest": stream.branch is None,
        "flavor": stream.flavor,
        "kmods": stream.kmods,
        "summary": stream.summary,
        "drivers": list(stream.driver_versions),
        "held": [{"driver": version, "reason": reason} for version, reason in stream.held],
        "profiles": list(stream.profiles),
        "gpus": gpus_document(stream.gpus) if stream.gpus else None,
        "install": install_commands(facts, stream) if stream.driver_versions else [],
        "switch": switch_commands(facts, stream) if stream.driver_versions else [],
    }


def _offer(stream: SupportStream, kernel: SupportKernel, of_kernel: Sequence[SupportRow]) -> dict[str, Any]:
    """What a host with this kernel, whose cells these are, gets from this stream."""
    if not stream.driver_versions:
        reason = stream.held[-1][1] if stream.held else "the stream carries no driver"
        return _state("held", None, None, reason)
    newest = stream.driver_versions[-1]
    if stream.kmods == Kmods.DKMS.value:
        return _state("dkms", newest, None, "built on the host by DKMS")
    rows = [r for r in of_kernel if r.flavor == stream.flavor]
    mine = [r for r in rows if r.driver_version in stream.driver_versions]
    published = [r for r in mine if r.outcome is SupportOutcome.PUBLISHED]
    if published:
        best = _newest(published)
        why = next((r.reason for r in mine if r.driver_version == newest and r is not best), "")
        reason = f"{newest} is not there: {why}" if why and best.driver_version != newest else best.reason
        return _state("published", best.driver_version, best.level, reason)
    if mine:
        missing = _newest(mine)
        return _state(missing.outcome.value, missing.driver_version, missing.level, missing.reason)
    return _state("none", None, None, "" if kernel.live else "no longer built")


def _newest(rows: list[SupportRow]) -> SupportRow:
    best = rows[0]
    for row in rows[1:]:
        if compare_evr(row.driver_version, best.driver_version) > 0:
            best = row
    return best


def _state(state: str, driver: str | None, level: str | None, reason: str) -> dict[str, Any]:
    return {"state": state, "driver": driver, "level": level, "reason": reason}


def _cell(row: SupportRow) -> dict[str, Any]:
    return {
        "id": row.cell,
        "kernel": row.kernel,
        "variant": row.variant,
        "branch": row.branch,
        "driver": row.driver_version,
        "flavor": row.flavor,
        "outcome": row.outcome.value,
        "level": row.level,
        "reason": row.reason,
        "package": row.package,
        "signer": row.signer,
    }
