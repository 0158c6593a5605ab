"""Streams that are metadata trees of their own over one pool: narrowed in a bundle, and flat without links."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.model.matrix import Delivery
from builder.model.publication import StreamContent
from builder.pipeline.bundles import make_bundle, place_bundle
from builder.publish.tree_files import flat_files
from tests.tools.publishing import Shop, content_without_modules, make_rpms, sign_all, two_streams
from tests.tools.sending import put, seen


def _parts(shop: Shop, folder: Path) -> list[StreamContent]:
    """The streams of the shop, each with the package that selects it."""
    names = {"r535-open": ("535.261.03", "1.r535.lab9"), "latest": ("550.163.01", "1.latest.lab9")}
    packages = [("nvidia-driver-release", "3", version, release) for version, release in names.values()]
    releases = sign_all(shop.signer, make_rpms(folder / "rpms", packages), folder / "signed")
    parts = []
    for part in two_streams(shop.rpms).streams:
        own = releases["-".join(("nvidia-driver-release", *names[part.stream.name]))]
        parts.append(replace(part, artifacts=tuple(sorted((*part.artifacts, own), key=lambda a: str(a.nevra)))))
    return parts


def test_a_stream_of_trees_is_bundled_alone_and_all_of_them_are_flat_without_links(shop: Shop, tmp_path: Path) -> None:
    content = content_without_modules("lab10", Delivery.BRANCH_REPOS, _parts(shop, tmp_path))
    generation = put(shop, content, tmp_path / "repo").path
    flat = flat_files(generation)
    trees = {name for name in flat if name.startswith("streams/") and "/Packages/" in name}
    assert len(trees) == 6
    assert sum("535.261.03" in name for name in trees) == 3
    assert all(path.is_file() for path in flat.values())
    file, key = tmp_path / "one", tmp_path / "key.asc"
    key.write_bytes(shop.signer.public_key())
    make_bundle(tmp_path / "repo", file, "lab10", shop.signer, arch="x86_64", streams=["r535-open"])
    placed = place_bundle(file, tmp_path / "root2", [key], None)
    assert [tree.name for tree in (placed.path / "streams").iterdir()] == ["r535-open"]
    assert not (placed.path / "nvidia-driver-release.rpm").exists()  # it selects the default, which is not there
    assert seen(str(placed.current), shop, tmp_path / "t") == 3
