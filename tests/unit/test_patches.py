"""Which patches a cell is built with, and what matrix.yaml may not say about them."""

from __future__ import annotations

import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from builder.config import load_matrix
from builder.errors import ConfigError, RenderError
from builder.model.cells import Cell
from builder.model.matrix import Flavor, Kernel, Matrix
from builder.model.nevra import Evr
from builder.model.patches import KernelRule, Patch, VersionRange, patches_of
from builder.plan.actions import content_digest
from builder.plan.cells import expand_cells
from builder.render import render_modules
from tests.golden import sample

GOOD = Path(__file__).parent.parent / "assets" / "config" / "good"
DIFF = "--- a/nvidia/nv.c\n+++ b/nvidia/nv.c\n@@ -1 +1 @@\n-int old;\n+int new;\n"


def patch(name: str = "a.patch", **values: object) -> Patch:
    base = {"name": name, "path": Path("/p", name), "sha256": "0" * 64, "size": 1, "reason": "why"}
    return Patch(**{**base, **values})  # type: ignore[arg-type]


def versions(start: str | None = None, before: str | None = None) -> VersionRange:
    return VersionRange(start=start, before=before)


def kernel(evr: str, *, variant: str = "generic", release: str = "x") -> Kernel:
    core = replace(sample.K503.core, evr=Evr.parse(evr))
    return replace(sample.K503, release=release, variant=variant, core=core)


def names(cell: Cell) -> list[str]:
    return [p.name for p in patches_of(cell)]


@pytest.mark.parametrize(
    ("evr", "start", "before", "inside"),
    [
        ("6.12.107+deb13-1.lab9", "6.12", None, True),
        ("6.1.0-53.lab9", "6.1.0-53", "6.2", True),
        ("6.1.0-9.lab9", "6.1.0-53", "6.2", False),  # 9 < 53 as rpm counts, not as text sorts
        ("6.1.0-530.lab9", "6.1.0-53", "6.1.0-54", False),
        ("6.12.94-1.lab9", "6.9", "6.13", True),
        ("6.12.94-1.lab9", None, "6.12.94-1.lab9", False),  # the end is not in it
        ("6.12.94-1.lab9", "6.12.94-1.lab9", None, True),  # the start is
        ("5.14.0-503.11.1.el9_5", "5.14.0-427", "5.14.0-570", True),
        ("6.12~rc1-1", "6.12", None, False),
        ("1:2.0-1", "2.0", "3.0", False),  # an epoch counts
        ("6.1.0-1", None, None, True),
    ],
)
def test_ranges_are_compared_as_rpm_compares(evr: str, start: str | None, before: str | None, *, inside: bool) -> None:
    assert (Evr.parse(evr).full in versions(start, before)) is inside


@pytest.mark.parametrize(
    ("start", "before", "empty"),
    [
        ("6.12", "6.10", True),
        ("6.12", "6.12", True),
        ("6.9", "6.12", False),
        (None, "6.1", False),
        ("6.1", None, False),
    ],
)
def test_a_range_that_is_upside_down_is_empty(start: str | None, before: str | None, *, empty: bool) -> None:
    assert versions(start, before).empty is empty


def test_a_patch_without_conditions_is_one_of_every_cell_and_the_order_is_kept() -> None:
    driver = replace(sample.D535, patches=(patch("z.patch"), patch("a.patch")))
    for k in sample.KERNELS:
        assert names(sample.cell(k, driver)) == ["z.patch", "a.patch"]


def test_a_patch_of_one_flavor_is_not_applied_to_the_other() -> None:
    driver = replace(sample.D535, patches=(patch(flavors=(Flavor.OPEN,)),))
    assert names(sample.cell(sample.K503, driver, Flavor.OPEN)) == ["a.patch"]
    assert names(sample.cell(sample.K503, driver, Flavor.PROPRIETARY)) == []


@pytest.mark.parametrize(
    ("rule", "applied"),
    [
        (KernelRule(versions=versions("6.1.0-53")), False),
        (KernelRule(versions=versions("6.1.0-50")), True),
        (KernelRule(variant="cloud"), True),
        (KernelRule(variant="rt"), False),
        (KernelRule(release="6.1.*-cloud-amd64"), True),
        (KernelRule(release="6.1.*-amd64", variant="generic"), False),
        (KernelRule(distribution="el9", versions=versions(None, "6.2")), True),
        (KernelRule(distribution="el8", versions=versions(None, "6.2")), False),
    ],
)
def test_every_part_of_a_kernel_rule_must_hold(rule: KernelRule, *, applied: bool) -> None:
    cloud = kernel("6.1.0-50.lab9", variant="cloud", release="6.1.0-50-cloud-amd64")
    driver = replace(sample.D535, patches=(patch(kernels=(rule,)),))
    assert bool(names(sample.cell(cloud, driver))) is applied


def test_a_kernel_that_any_of_the_rules_chooses_is_patched() -> None:
    rules = (KernelRule(versions=versions("6.1.0-53", "6.2")), KernelRule(versions=versions("6.12.107", "6.13")))
    driver = replace(sample.D535, patches=(patch(kernels=rules),))
    found = {
        evr: names(sample.cell(kernel(evr), driver))
        for evr in ("6.1.0-50.lab9", "6.1.0-56.lab9", "6.12.94-1.lab9", "6.12.107-1.lab9")
    }
    assert [evr for evr, applied in found.items() if applied] == ["6.1.0-56.lab9", "6.12.107-1.lab9"]


PATCHES = """\
    patches:
      - file: patches/bar.patch
        reason: >-
          pci_resize_resource() has
          a fourth parameter
        upstream: https://example.org/commit
        flavors: [open]
        drivers: {from: "535.200"}
        kernels:
          - {from: 6.1.0-50, before: "6.2", variant: generic}
    drivers:
      - version: "535.261.03"
"""
PLAIN = '    drivers:\n      - version: "535.261.03"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The good configuration, with a patch in branch 535."""
    made = shutil.copytree(GOOD, tmp_path / "config")
    (made / "patches").mkdir()
    (made / "patches/bar.patch").write_text(DIFF)
    matrix = made / "matrix.yaml"
    text = matrix.read_text()
    assert text.count(PLAIN) == 1
    matrix.write_text(text.replace(PLAIN, PATCHES))
    return made


def cells(matrix: Matrix) -> dict[str, Cell]:
    return {cell.id: cell for cell in expand_cells(matrix)[0]}


def test_patches_are_read_with_their_digest_and_belong_to_the_drivers_in_their_range(folder: Path) -> None:
    matrix = load_matrix(folder / "matrix.yaml")
    old, new = matrix.branches[1].drivers
    assert (old.version, old.patches) == ("535.99.01", ())
    (found,) = new.patches
    assert (found.name, found.path, found.size) == ("bar.patch", folder / "patches/bar.patch", len(DIFF))
    assert found.reason == "pci_resize_resource() has a fourth parameter"
    assert found.upstream == "https://example.org/commit"
    assert found.sha256 == "f51aed1954d54b79f7e52d7627e8646604939eb3b61ea68f776cdd8ad8b4952b"


def test_the_cells_of_a_matrix_have_the_patches_that_apply_to_them(folder: Path) -> None:
    found = cells(load_matrix(folder / "matrix.yaml"))
    assert [cell_id for cell_id, cell in found.items() if patches_of(cell)] == ["r535-open@6.1.0-56-amd64"]


KEYS = "(allowed: from, before, distribution, variant, release)"
MISTAKES = [
    ("file: patches/bar.patch", "file: patches/baz.patch",
     "file: no file 'patches/baz.patch', did you mean 'bar.patch'? (allowed: bar.patch)"),
    ("file: patches/bar.patch", "file: matrix.yaml",
     "file: 'matrix.yaml' is not a file name of letters, digits and . _ + - that ends in .patch"),
    ("file: patches/bar.patch", "file: patches/empty.patch",
     "file: 'patches/empty.patch' is no unified diff (it has no '+++' or no '@@' line)"),
    ("flavors: [open]", "flavors: [opne]",
     "flavors[0]: unknown value 'opne', did you mean 'open'? (allowed: proprietary, open)"),
    ("flavors: [open]", "flavors: [open, open]",
     "flavors: 'open' stands here a second time; first on line {line}"),
    ("flavors: [open]", "flavors: []", "flavors: empty; at least one is needed"),
    ('drivers: {from: "535.200"}', "drivers: {}",
     "drivers: says nothing: leave it out, or give one of its keys (allowed: from, before)"),
    ('drivers: {from: "535.200"}', 'drivers: {from: "535.200", before: "535.100"}',
     "drivers: upside down: no version is from '535.200' on and before '535.100'"),
    ('drivers: {from: "535.200"}', 'drivers: {from: "550"}', ": applies to no cell (repobuild cells lists them)"),
    ("{from: 6.1.0-50, before: \"6.2\", variant: generic}", "{}",
     f"kernels[0]: says nothing: leave it out, or give one of its keys {KEYS}"),
    ('before: "6.2"', 'before: "6.1"',
     "kernels[0]: upside down: no version is from '6.1.0-50' on and before '6.1'"),
    ('before: "6.2"', "before: 6.2", 'kernels[0].before: 6.2 is not text to YAML: quote it ("6.2")'),
    ('before: "6.2"', 'before: "6-2-1"',
     "kernels[0].before: '6-2-1' is not [epoch:]version[-release], as in 6.12 or 5.14.0-503.11.1.el9_5"),
    ('before: "6.2"', 'to: "6.2"',
     f"kernels[0].to: unknown key {KEYS}"),
    ("variant: generic", "variant: genric",
     "kernels[0].variant: no variant 'genric', did you mean 'generic'? (allowed: {variants})"),
    ("variant: generic", "distribution: lab8",
     "kernels[0].distribution: no distribution 'lab8', did you mean 'lab9'? (allowed: {distributions})"),
    ("variant: generic", 'release: "*el9*"',
     "kernels[0]: no kernel of this matrix is chosen (repobuild cells lists them)"),
]  # fmt: skip


@pytest.mark.parametrize(("old", "new", "message"), MISTAKES, ids=[f"{i}-{m[2][:24]}" for i, m in enumerate(MISTAKES)])
def test_a_mistake_in_a_patch_is_told_once_on_its_line(folder: Path, old: str, new: str, message: str) -> None:
    if "empty" in new:
        (folder / "patches/empty.patch").write_text("Subject: nothing\n")
    matrix = folder / "matrix.yaml"
    text = matrix.read_text()
    good = load_matrix(matrix)
    assert PATCHES.count(old) == 1
    matrix.write_text(text.replace(PATCHES, PATCHES.replace(old, new)))
    # What is said of a patch as a whole stands on the line of its file.
    start = text.index(PATCHES) + PATCHES.index("file: patches/bar.patch" if message.startswith(":") else old)
    line = text.count("\n", 0, start) + 1
    expected = message.format(
        line=line,
        variants=", ".join(sorted({k.variant for d in good.distributions for k in d.kernels})),
        distributions=", ".join(d.name for d in good.distributions),
    )
    if not message.startswith(":"):
        expected = f".{expected}"
    with pytest.raises(ConfigError) as caught:
        load_matrix(matrix)
    assert [(m.line, m.message) for m in caught.value.mistakes] == [(line, f"branches.535.patches[0]{expected}")]


def test_two_patches_of_one_name_in_a_branch_are_a_mistake(folder: Path) -> None:
    matrix = folder / "matrix.yaml"
    (folder / "more").mkdir()
    (folder / "more/bar.patch").write_text(DIFF)
    entry = "      - {file: more/bar.patch, reason: other}\n"
    matrix.write_text(matrix.read_text().replace('    drivers:\n      - version: "535.261.03"\n', entry + PLAIN))
    with pytest.raises(ConfigError, match="mistake") as caught:
        load_matrix(matrix)
    (mistake,) = caught.value.mistakes
    assert "patches[1].file: a second patch of the name 'bar.patch'; first on line" in mistake.message


def spec_of(*patches: Patch) -> tuple[str, str]:
    """Text of the compiling spec and the digest of all that is in it."""
    driver = replace(sample.D535, patches=patches)
    spec = render_modules(sample.cell(sample.K503, driver), sample.sources(), sample.MATRIX)
    return spec.text, content_digest(spec)


def test_other_bytes_or_another_order_of_patches_are_another_cell() -> None:
    first, second = patch("a.patch"), patch("b.patch", sha256="1" * 64)
    digests = {
        spec_of(*patches)[1]
        for patches in ((), (first,), (replace(first, sha256="2" * 64),), (first, second), (second, first))
    }
    assert len(digests) == 5


def test_better_words_for_the_same_patch_compile_nothing_again() -> None:
    first = patch("a.patch", reason="why", upstream="https://example.org/1")
    assert spec_of(first) == spec_of(replace(first, reason="50% clearer", upstream=None))


def test_a_patch_that_does_not_apply_to_a_cell_is_not_in_its_spec() -> None:
    assert spec_of(patch(flavors=(Flavor.PROPRIETARY,))) == spec_of()
    assert "Patch0" not in spec_of()[0]


def test_a_patch_whose_name_a_shell_would_read_is_refused() -> None:
    with pytest.raises(RenderError, match="patch"):
        spec_of(patch("a;b.patch"))
