"""Patches of matrix.yaml meet a kernel tree: rpmbuild applies each as it is, or stops and says which."""

from __future__ import annotations

import hashlib
import re
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import ToolError
from builder.model.cells import Cell
from builder.model.patches import Patch
from builder.render import render_modules
from tests.golden import sample
from tests.need import need
from tests.tools.fake_trees import write_tarball
from tests.tools.rpm_building import build

TOP = f"nvidia-kmod-{sample.D535.version}-open"
BEFORE = "one\ntwo\nthree\n"
FIRST = "--- a/words\n+++ b/words\n@@ -1,3 +1,3 @@\n one\n-two\n+TWO\n three\n"
SECOND = "Why: after the first\n\n--- a/words\n+++ b/words\n@@ -1,3 +1,4 @@\n one\n TWO\n+more\n three\n"
FUZZY = "--- a/words\n+++ b/words\n@@ -1,3 +1,3 @@\n uno\n-two\n+TWO\n three\n"


@pytest.fixture(autouse=True)
def _tools() -> None:
    need("rpmbuild", "patch")


def made(folder: Path, **texts: str) -> tuple[Patch, ...]:
    patches = []
    for name, text in texts.items():
        path = folder / f"{name}.patch"
        path.write_text(text)
        digest = hashlib.sha256(text.encode()).hexdigest()
        patches.append(Patch(name=path.name, path=path, sha256=digest, size=len(text), reason="why"))
    return tuple(patches)


def patch_tree(folder: Path, patches: tuple[Patch, ...]) -> str:
    """What ``words`` of the tree says after %prep; the spec's own %build and %install are left out."""
    sources = sample.sources(folder=folder)
    cell: Cell = sample.cell(d=replace(sample.D535, patches=patches))
    tree = sources.kernel_tree(cell.flavor)
    write_tarball(tree.path, TOP, {"words": BEFORE})
    spec = render_modules(cell, sources, sample.MATRIX)
    words = f"{folder}/words"
    text = re.sub(
        r"^%build\n.*?^%files\n.*", f"%build\ncp words {words}\n%files\n", spec.text, flags=re.MULTILINE | re.DOTALL
    )
    build(replace(spec, text=text), folder / "top")
    assert [s.filename for s in spec.sources if s.filename.endswith(".patch")] == [p.name for p in patches]
    left = [path.name for path in (folder / "top").rglob("*") if path.suffix in (".orig", ".rej")]
    assert left == []
    return Path(words).read_text()


def test_patches_are_applied_in_their_order(tmp_path: Path) -> None:
    assert patch_tree(tmp_path, made(tmp_path, zz_first=FIRST, aa_second=SECOND)) == "one\nTWO\nmore\nthree\n"


@pytest.mark.parametrize(
    ("texts", "culprit"),
    [
        ({"second": SECOND}, "second.patch"),  # nobody changed the word before it
        ({"first": FIRST, "again": FIRST}, "again.patch"),  # applied already
        ({"fuzzy": FUZZY}, "fuzzy.patch"),  # two lines of three would do with fuzz
        ({"other": FIRST.replace("words", "nowhere")}, "other.patch"),
    ],
)
def test_a_patch_that_does_not_fit_stops_the_build_and_is_named(
    tmp_path: Path, texts: dict[str, str], culprit: str
) -> None:
    with pytest.raises(ToolError) as caught:
        patch_tree(tmp_path, made(tmp_path, **texts))
    said = "\n".join(caught.value.details)
    assert f"\nrepobuild: error: {culprit} does not fit the open kernel tree of NVIDIA 535.261.03" in f"\n{said}"
    assert "echo" not in said


def test_a_patch_that_changed_since_the_plan_stops_the_build(tmp_path: Path) -> None:
    patches = made(tmp_path, first=FIRST)
    patches[0].path.write_text(FIRST.replace("TWO", "too"))
    with pytest.raises(ToolError) as caught:
        patch_tree(tmp_path, patches)
    assert "error: first.patch changed after this build was planned" in "\n".join(caught.value.details)
