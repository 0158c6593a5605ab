"""Which input changed is named, whichever it is; what follows from it is not told twice."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.keys import Inputs, KeyParts
from builder.plan.changes import describe_changes, nearest
from builder.store import read_inputs, write_inputs

A, B = "a" * 64, "b" * 64
PARTS = KeyParts(
    spec="Name: kmod\nRelease: 1\n",
    sources=(("nvidia-kmod.tar.gz", A), ("one.patch", A)),
    buildroot=A,
    devel=None,
    macros=(("_smp", "1"),),
    dist=".el9",
    payload="w3.zstdio",
    epoch=7,
    recipe="buildroot 1",
    parts=(("modules", A), ("recipe", "pack 1"), ("signer", A)),
)
COMPILED = replace(PARTS, devel=A, parts=(), spec="Name: modules\n")
OLD = Inputs(
    unit_id="el9/x86_64/kmod-nvidia/535.1/open/6.1.0-50",
    spec_name="kmod-nvidia-6.1.0-50.spec",
    serial=1,
    parts=PARTS,
    modules=COMPILED,
    devel="kernel-devel-6.1.0-50",
    packages=("gcc-12.2-1.el9.x86_64 d1", "make-4-1.el9.x86_64 d2", "zlib-1-1.el9.x86_64 d3"),
)


def changed(**parts: object) -> Inputs:
    """With another modules digest, as every change of what is compiled has."""
    new = replace(PARTS, parts=(("modules", B), *PARTS.parts[1:]), **parts)  # type: ignore[arg-type]
    return replace(OLD, parts=new)


def compiled(**parts: object) -> Inputs:
    return replace(changed(), modules=replace(COMPILED, **parts))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("new", "expected"),
    [
        (OLD, ()),
        (compiled(devel=B), ("kernel-devel kernel-devel-6.1.0-50: sha256 aaaaaaaaaaaa… → bbbbbbbbbbbb…",)),
        (
            replace(compiled(devel=B), devel="kernel-devel-6.1.0-51"),
            ("kernel-devel kernel-devel-6.1.0-50 → kernel-devel-6.1.0-51: sha256 aaaaaaaaaaaa… → bbbbbbbbbbbb…",),
        ),
        (
            compiled(sources=(*PARTS.sources, ("two.patch", B))),
            ("patch two.patch added: sha256 bbbbbbbbbbbb…",),
        ),
        (compiled(sources=PARTS.sources[:1]), ("patch one.patch removed",)),
        (
            compiled(sources=(("nvidia-kmod.tar.gz", B), PARTS.sources[1])),
            ("source nvidia-kmod.tar.gz: sha256 aaaaaaaaaaaa… → bbbbbbbbbbbb…",),
        ),
        (
            compiled(spec="Name: modules\n%build\n"),
            ("spec what compiles the modules (kmod-nvidia-6.1.0-50.spec): 0 lines removed, 1 added", "  +%build"),
        ),
        (
            replace(OLD, parts=replace(PARTS, spec="Name: kmod\nRelease: 2\n")),
            ("spec kmod-nvidia-6.1.0-50.spec: 1 lines removed, 1 added", "  -Release: 1", "  +Release: 2"),
        ),
        (
            replace(
                OLD,
                parts=replace(PARTS, buildroot=B),
                packages=("gcc-12.2-2.el9.x86_64 d4", "make-4-1.el9.x86_64 d5", "tar-1-1.el9.x86_64 d6"),
            ),
            (
                "buildroot: aaaaaaaaaaaa… → bbbbbbbbbbbb…",
                "  gcc-12.2-1.el9.x86_64 → gcc-12.2-2.el9.x86_64",
                "  make-4-1.el9.x86_64: other bytes",
                "  tar-1-1.el9.x86_64 added",
                "  zlib-1-1.el9.x86_64 removed",
            ),
        ),
        (
            replace(OLD, parts=replace(PARTS, macros=(("_smp", "2"), ("_x", "y")), dist=".el10", epoch=8)),
            ("macro _smp: 1 → 2", "macro _x: not set → y", "dist tag: .el9 → .el10", "date of the sources: 7 → 8"),
        ),
        (replace(OLD, parts=replace(PARTS, recipe="host 1")), ("builder: buildroot 1 → host 1",)),
        (
            replace(OLD, parts=replace(PARTS, parts=(("modules", A), ("recipe", "pack 2"), ("signer", "")))),
            ("way of packing: pack 1 → pack 2", "signer of the modules: aaaaaaaaaaaa… → none"),
        ),
        (
            replace(
                compiled(parts=(("requirements", B),)), requirements=("elfutils-libelf-devel-0.191-4.el9.x86_64 d7",)
            ),
            ("build requirements: none → bbbbbbbbbbbb…", "  elfutils-libelf-devel-0.191-4.el9.x86_64 added"),
        ),
        (changed(), ("modules: aaaaaaaaaaaa… → bbbbbbbbbbbb…",)),
    ],
)
def test_each_input_is_named_when_it_changes(new: Inputs, expected: tuple[str, ...]) -> None:
    assert describe_changes(OLD, new) == expected


def test_what_was_recorded_is_read_back_and_anything_else_is_nothing(tmp_path: Path) -> None:
    write_inputs(OLD, tmp_path)
    assert read_inputs(tmp_path) == OLD
    for text in ("[]", "{}", "not json"):
        (tmp_path / "inputs.json").write_text(text)
        assert read_inputs(tmp_path) is None


def test_the_nearest_has_the_fewest_changes() -> None:
    far, near = replace(changed(spec="other"), serial=9), compiled(devel=B)
    assert nearest(OLD, [far, near]) is near
    assert nearest(OLD, []) is None
