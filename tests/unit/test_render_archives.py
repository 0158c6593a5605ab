"""Every member of an archive beside the .run is placed, or named."""

from __future__ import annotations

from dataclasses import replace

import pytest

from builder.errors import RenderError
from builder.model.cells import PackageKind
from builder.model.sources import ArchiveMember
from builder.render import render_archive
from tests.golden import sample

FM = PackageKind.FABRICMANAGER


def text_with(kind: PackageKind, *paths: str) -> str:
    archive = sample.archive(kind)
    more = tuple(ArchiveMember(path=path, target="", executable=False) for path in paths)
    sources = replace(sample.sources(), archive=replace(archive, members=(*archive.members, *more)))
    return render_archive(sample.unit(kind), sources, sample.MATRIX).text


@pytest.mark.parametrize(
    ("kind", "path"),
    [
        (FM, "share/new/thing"),
        (FM, "bin/deeper/nv-tool"),
        (PackageKind.NSCQ, "etc/nscq.cfg"),
        (PackageKind.IMEX, "lib/libimex.so.1"),
    ],
)
def test_a_member_that_no_rule_places_is_an_error_that_names_it(kind: PackageKind, path: str) -> None:
    with pytest.raises(RenderError, match=f"no rule places {path}"):
        text_with(kind, path)


def test_a_topology_of_a_new_machine_is_placed_like_the_others() -> None:
    line = "%attr(0644, root, root) /usr/share/nvidia/nvswitch/dgxnew_topology"
    assert line in text_with(FM, "share/nvidia/nvswitch/dgxnew_topology")


def test_an_archive_without_its_program_is_refused() -> None:
    archive = sample.archive(FM)
    only = tuple(m for m in archive.members if m.path.startswith("include/"))
    sources = replace(sample.sources(), archive=replace(archive, members=only))
    with pytest.raises(RenderError, match="holds nothing of nvidia-fabricmanager"):
        render_archive(sample.unit(FM), sources, sample.MATRIX)


def test_sources_without_the_archive_are_refused() -> None:
    with pytest.raises(RenderError, match="its archive is not there"):
        render_archive(sample.unit(FM), sample.sources(), sample.MATRIX)
