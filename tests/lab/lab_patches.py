"""Patches that the real drivers need on the archive's kernels: the archive's own, and ours in tests/lab/patches/.

A lab driver carries them, because NVIDIA's archive would not have them in its trees; the lab's matrix.yaml takes those
that one of its cells needs.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from builder.model.nevra import Evr
from builder.model.patches import KernelRule, VersionRange

OWN = Path(__file__).parent / "patches"


@dataclass(frozen=True, slots=True, kw_only=True)
class LabPatch:
    """A patch of a branch, as matrix.yaml says it."""

    path: Path
    reason: str
    upstream: str | None = None
    kernels: tuple[Mapping[str, str], ...] = ()
    flavors: tuple[str, ...] = ()

    def entry(self, kernels: Sequence[Mapping[str, Any]], flavors: Collection[str]) -> dict[str, Any] | None:
        """For a matrix of these kernels (entries of matrix.yaml) and flavors; None where no cell would have it.

        Rules that choose no kernel are left out, because production takes a dead rule for a mistake.
        """
        rules = [dict(rule) for rule in self.kernels if any(_chooses(rule, kernel) for kernel in kernels)]
        wanted = [flavor for flavor in self.flavors if flavor in flavors]
        if (self.kernels and not rules) or (self.flavors and not wanted):
            return None
        values = {
            "file": f"patches/{self.path.name}",
            "reason": self.reason,
            "upstream": self.upstream,
            "kernels": rules,
            "flavors": wanted,
        }
        return {key: value for key, value in values.items() if value}


def _chooses(rule: Mapping[str, str], kernel: Mapping[str, Any]) -> bool:
    words = {key: value for key, value in rule.items() if key not in ("from", "before")}
    versions = VersionRange(start=rule.get("from"), before=rule.get("before"))
    fields = {key: kernel[key] for key in ("distribution", "variant", "release")}
    evr = Evr.parse(kernel["core"]["evr"]).full
    return KernelRule(**words, versions=versions).holds(**fields, evr=evr)


# Stable updates of both series brought what Linux 6.19 has (docs/adr/0010): kernels before them need nothing.
_RESIZE = LabPatch(
    path=OWN / "open-pci-resize-resource.patch",
    reason="pci_resize_resource() got a fourth parameter with 6.1.187 (6.1.0-53) and 6.12.97",
    upstream="https://github.com/NVIDIA/open-gpu-kernel-modules/issues/1272",
    kernels=({"from": "6.1.0-53", "before": "6.2"}, {"from": "6.12.97"}),
    flavors=("open",),
)
_BY_BRANCH: dict[str, tuple[LabPatch, ...]] = {
    "470": (
        LabPatch(
            path=OWN / "470-follow-pfn.patch",
            reason="follow_pfn() left the kernel with 6.12; what replaced it is for GPL modules only",
            kernels=({"from": "6.12"},),
        ),
        LabPatch(
            path=OWN / "470-output-poll-changed.patch",
            reason="drm_mode_config_funcs lost output_poll_changed with 6.12",
            kernels=({"from": "6.12"},),
        ),
    ),
    "535": (_RESIZE,),
    "550": (_RESIZE,),
}


def take_archive_patches(tree: Path, target: Path) -> None:
    """Move the patches that the archive keeps beside a kernel tree out of it, so that the tree is NVIDIA's."""
    if (tree / "patches").is_dir():
        shutil.move(tree / "patches", target)


def patches_of_driver(branch: str, archive: Path, package: str) -> tuple[LabPatch, ...]:
    """The archive's patches of a driver, kept in ``archive``, in their series' order; then ours."""
    return (*_archive_patches(archive, package), *_BY_BRANCH.get(branch, ()))


def _archive_patches(folder: Path, package: str) -> Iterator[LabPatch]:
    series = folder / "series"
    if series.is_file():
        for line in series.read_text().splitlines():
            name = line.partition("#")[0].strip()
            if name:
                yield LabPatch(path=folder / name, reason=f"{package} applies it: {_subject(folder / name)}")


def _subject(patch: Path) -> str:
    match = re.search(r"^(?:Subject|Description):\s*(?:\[PATCH[^\]]*\]\s*)?(.+)", patch.read_text(), re.MULTILINE)
    return match[1].strip() if match else patch.stem
