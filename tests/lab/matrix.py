"""A matrix.yaml, its streams and its mock configuration for the lab's distribution, kernels and drivers.

Written through the YAML library into a folder of its own; the production code reads it like any other configuration.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from builder.pipeline.kernel_files import describe_kernels
from tests.lab.distro import LabDistro
from tests.lab.runfile import LabDriver

LAB = Path(__file__).parent
MOCK_TEMPLATE = LAB / "mock-configs/lab9.cfg.j2"
# Lifetimes and GPU generations as in the production matrix.yaml, so that the support matrix reads the same.
LIFETIMES: dict[str, dict[str, Any]] = {
    "430": {
        "type": "preview",
        "eol": None,
        "max_cuda": None,
        "gpus": ["kepler", "maxwell", "pascal", "volta", "turing"],
    },
    "470": {
        "type": "LTS",
        "eol": "2024",
        "max_cuda": "11.4",
        "gpus": ["kepler", "maxwell", "pascal", "volta", "turing"],
    },
    "535": {"type": "LTS", "eol": "2026-06", "max_cuda": "12.2", "gpus": ["maxwell", "pascal", "volta", "turing"]},
    "550": {"type": "PB", "eol": None, "max_cuda": "12.4", "gpus": ["maxwell", "pascal", "volta", "turing"]},
    "570": {"type": "PB", "eol": "2026-02", "max_cuda": "12.8", "gpus": ["maxwell", "pascal", "volta", "turing"]},
}
PROFILES = {
    "default": {
        "packages": ["nvidia-driver", "nvidia-driver-cuda", "cuda-drivers"],
        "description": "Driver, CUDA driver libraries and tools",
    },
    "ks": {"packages": ["nvidia-driver", "nvidia-driver-cuda"], "description": "For kickstart files"},
}


def stream(name: str, branch: str, flavor: str, *, kmods: str = "precompiled", default: bool = False) -> dict[str, Any]:
    """One stream file's content."""
    how = "built on the host by DKMS" if kmods == "dkms" else "precompiled kernel modules"
    what = "newest complete driver" if branch == "newest-complete" else f"R{branch} drivers"
    return {
        "stream": name,
        "branch": branch,
        "flavor": flavor,
        "kmods": kmods,
        "default": default,
        "summary": f"NVIDIA {what}, {flavor} modules, {how}",
        "description": f"The {what} with {flavor} kernel modules, {how}. From the lab: not for use on a real host.",
        "profiles": PROFILES,
        "default_profile": "default",
    }


def demo_streams(branches: Iterable[str]) -> list[dict[str, Any]]:
    """rNNN-open of each branch, latest (open, the default) and latest-dkms."""
    streams = [stream(f"r{b}-open", b, "open") for b in branches]
    streams.append(stream("latest", "newest-complete", "open", default=True))
    streams.append(stream("latest-dkms", "newest-complete", "open", kmods="dkms"))
    return streams


def write_lab_matrix(
    folder: Path,
    distro: LabDistro,
    drivers: Sequence[LabDriver],
    streams: Sequence[dict[str, Any]],
    *,
    kernels: Sequence[str] | None = None,
    flavors: Sequence[str] | None = None,
    modules: Sequence[str] | None = None,
    exclude: Sequence[dict[str, str]] = (),
    qualification: Mapping[str, Any] | None = None,
    delivery: str = "modular",
    payload: str = "w3.zstdio",
) -> Path:
    """Write matrix.yaml, streams/, mock-configs/ and patches/ into ``folder``; returns the path of matrix.yaml.

    ``kernels`` names the kernel releases to take (all when None), ``flavors`` and ``modules`` narrow the drivers. A
    driver's patches are written where one of the cells has them. ``qualification``, ``delivery`` and ``payload``
    go in as they are.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(folder / "streams", ignore_errors=True)
    (folder / "streams").mkdir()
    (folder / "mock-configs").mkdir(exist_ok=True)
    shutil.copyfile(MOCK_TEMPLATE, folder / "mock-configs" / MOCK_TEMPLATE.name)
    for one in streams:
        _write(folder / "streams" / f"{one['stream']}.yaml", one)
    matrix = {
        "schema": 1,
        "module": "nvidia-driver",
        "epoch": 3,
        "vendor": "repobuild lab",
        "distributions": {"lab9": {**_distribution(distro), "delivery": delivery, "payload": payload}},
        "kernels": _kernels(distro, kernels),
        "branches": _branches(drivers, flavors, modules),
        "exclude": list(exclude),
    }
    if qualification is not None:
        matrix["qualification"] = dict(qualification)
    for driver in drivers:
        _add_patches(matrix, driver, streams, folder / "patches")
    _write(folder / "matrix.yaml", matrix)
    return folder / "matrix.yaml"


def _add_patches(matrix: dict[str, Any], driver: LabDriver, streams: Sequence[dict[str, Any]], folder: Path) -> None:
    branch = matrix["branches"][driver.branch]
    offered = {flavor for entry in branch["drivers"] for flavor in entry["flavors"]}
    wanted = {
        one["flavor"]
        for one in streams
        if one["branch"] in (driver.branch, "newest-complete") and one["kmods"] == "precompiled"
    }
    for patch in driver.patches:
        entry = patch.entry(matrix["kernels"], offered & wanted)
        if entry is not None and entry not in branch.setdefault("patches", []):
            folder.mkdir(exist_ok=True)
            shutil.copyfile(patch.path, folder / patch.path.name)
            branch["patches"].append(entry)


def _write(path: Path, document: object) -> None:
    path.write_text(yaml.safe_dump(document, sort_keys=False, width=120))


def _distribution(distro: LabDistro) -> dict[str, Any]:
    return {
        "title": "Lab 9, an EL-like distribution made from the host's archive",
        "platform": "lab9",
        "dist_tag": ".lab9",
        "arches": ["x86_64"],
        "buildroot": {
            "template": "lab9.cfg.j2",
            "releasever": distro.releasever,
            "packages": list(distro.base_packages),
            "macros": {"dist": ".lab9"},
            "repositories": [{"id": "lab", "baseurl": distro.repository.as_uri(), "gpgcheck": False}],
        },
    }


def _kernels(distro: LabDistro, releases: Sequence[str] | None) -> list[dict[str, Any]]:
    """What ``repobuild kernels`` reads from the kernels' own RPMs."""
    chosen = [k for k in distro.kernels if releases is None or k.release in releases]
    names = [f"{p.name}-{p.evr}.{distro.arch}.rpm" for k in chosen for p in (k.core, k.devel)]
    return describe_kernels([distro.repository / name for name in names], "lab9").entries


def _branches(
    drivers: Sequence[LabDriver], flavors: Sequence[str] | None, modules: Sequence[str] | None
) -> dict[str, Any]:
    branches: dict[str, Any] = {}
    for driver in drivers:
        entry: dict[str, Any] = {
            "version": driver.version,
            "flavors": [f for f in driver.flavors if flavors is None or f in flavors],
            "read": driver.origin,
            "sources": [{"kind": "run", "arch": "x86_64", "url": str(driver.run)}],
        }
        if driver.source is not None:
            entry["sources"].append({"kind": "open-source", "arch": "noarch", "url": str(driver.source)})
        entry["sources"] += [{"kind": kind, "arch": "x86_64", "url": str(path)} for kind, path in driver.archives]
        if modules is not None:
            entry["modules"] = list(modules)
        branches.setdefault(driver.branch, {**LIFETIMES[driver.branch], "drivers": []})["drivers"].append(entry)
    return branches
