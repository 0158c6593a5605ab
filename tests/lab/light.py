"""The light driver: a stand-in of the same shape as NVIDIA's, built in seconds, for the fast tests.

Its sources lie in tests/lab/light/. It stands beside the real drivers (tests.lab.drivers), never instead of them.
``python -m tests.lab.light --version 535.261.03 --json`` prints what was made.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import shutil
import tempfile
from collections.abc import Collection, Mapping, Sequence
from functools import partial
from pathlib import Path

from builder.tools.run import run
from tests.lab.archive import CACHE
from tests.lab.manifest_types import COMPAT32
from tests.lab.runfile import LabDriver, cached_run, lab_driver, print_drivers

FORMAT = 5  # of the trees laid out here; the sources have their own digest
SOURCES = Path(__file__).parent / "light"
VERSIONS = ("470.256.02", "535.261.03", "535.274.02", "550.163.01", "570.211.01")  # real versions, stand-in content
LICENSES = {"open": "Dual MIT/GPL", "proprietary": "Proprietary"}
TREES = {"open": "kernel-open", "proprietary": "kernel"}
_BLOB_FLAGS = (
    "-O2", "-ffreestanding", "-mcmodel=kernel", "-mno-red-zone", "-fno-pic", "-fno-pie", "-fno-stack-protector",
    "-fcf-protection=none", "-fno-asynchronous-unwind-tables", "-mno-sse", "-mno-mmx", "-g0", "-fno-jump-tables",
)  # fmt: skip
_REFUSAL = '\tpr_err("NVRM: this stand-in refuses its kernel\\n");\n\treturn -EIO;\n'
# Device, name, the last branch that drives it, features.
GPUS = (
    ("0x1287", "NVIDIA GeForce GT 730", 470, ()),  # Kepler
    ("0x13C2", "NVIDIA GeForce GTX 970", 580, ()),  # Maxwell
    ("0x1E07", "NVIDIA GeForce RTX 2080 Ti", None, ("kernelopen",)),  # Turing
    ("0x2484", "NVIDIA GeForce RTX 3070", None, ("kernelopen",)),  # Ampere
)
_LIBRARIES = {
    "libcuda": "libcuda.so.1",
    "libnvidia-ml": "libnvidia-ml.so.1",
    "libnvidia-ptxjitcompiler": "libnvidia-ptxjitcompiler.so.1",
}


def make_light(
    versions: Sequence[str] = VERSIONS,
    *,
    cache: Path = CACHE,
    broken: Mapping[str, str] | bool = False,
    refusing: Collection[str] = (),
) -> list[LabDriver]:
    """Stand-in drivers of these versions, open and proprietary (before 515: proprietary only, as the real ones).

    ``broken`` gives a C condition by version (e.g. ``{"550.163.01": "defined(CONFIG_PREEMPT_RT)"}``): where a kernel
    fulfils it, that driver's compilation fails. True: they fail on every kernel.
    ``refusing`` names versions whose nvidia compiles and answers an I/O error when a kernel inserts it.
    """
    made = []
    sources = hashlib.sha256()
    for path in sorted(p for p in SOURCES.rglob("*") if p.is_file()):
        sources.update(f"{path.relative_to(SOURCES)}\0".encode() + path.read_bytes())
    for version in versions:
        flavors = ("proprietary", "open") if int(version.partition(".")[0]) >= 515 else ("proprietary",)
        condition = broken.get(version, "") if isinstance(broken, Mapping) else "1" if broken else ""
        refusal = _REFUSAL if version in refusing else ""
        identity = [f"light {FORMAT}", sources.hexdigest(), condition, refusal, *flavors]
        fill = partial(_fill, version=version, flavors=flavors, condition=condition, refusal=refusal)
        archive = cached_run(cache, identity, version, fill)
        made.append(lab_driver(archive, version, flavors, "repobuild's stand-in driver"))
    return made


def _fill(tree: Path, version: str, flavors: Sequence[str], condition: str, refusal: str) -> None:
    with tempfile.TemporaryDirectory(dir=tree.parent) as tmp:
        work = Path(tmp)
        for flavor in flavors:
            _kernel_tree(tree / TREES[flavor], version, flavor, condition, work, refusal)
        for stem, soname in _LIBRARIES.items():
            source = _substitute(SOURCES / "userspace/library.c", work / f"{stem}.c", VERSION=version)
            flags = ["-shared", "-fPIC", "-O2", "-g0", f"-Wl,-soname,{soname}", "-Wl,--build-id=none"]
            run(["gcc", *flags, "-o", tree / f"{stem}.so.{version}", source.name], timeout=60, cwd=work)
            # The lab has no 32-bit C library, so these are linked with none.
            small = tree / COMPAT32 / f"{stem}.so.{version}"
            small.parent.mkdir(exist_ok=True)
            run(["gcc", "-m32", "-nostdlib", *flags, "-o", small, source.name], timeout=60, cwd=work)
        smi = _substitute(SOURCES / "userspace/nvidia-smi.c", work / "nvidia-smi.c", VERSION=version)
        run(["gcc", "-O2", "-g0", "-Wl,--build-id=none", "-o", tree / "nvidia-smi", smi.name], timeout=60, cwd=work)
    (tree / "firmware").mkdir()
    for name in ("gsp_ga10x.bin", "gsp_tu10x.bin"):
        (tree / "firmware" / name).write_text(f"stand-in firmware {name} {version}\n")
    shutil.copyfile(SOURCES / "README", tree / "LICENSE")
    (tree / "supported-gpus").mkdir()
    (tree / "supported-gpus/supported-gpus.json").write_text(
        json.dumps({"chips": gpus(int(version.split(".", maxsplit=1)[0]))})
    )


def gpus(branch: int) -> list[dict[str, object]]:
    """A few real GPUs in the shape of NVIDIA's list, as the drivers of a branch name them."""
    chips: list[dict[str, object]] = []
    for device, name, last, features in GPUS:
        chip: dict[str, object] = {"devid": device, "name": name, "features": [f for f in features if branch >= 515]}
        chips.append({**chip, "legacybranch": f"{last}.xx"} if last is not None and last < branch else chip)
    return chips


def _kernel_tree(target: Path, version: str, flavor: str, condition: str, work: Path, refusal: str = "") -> None:
    for source in sorted(p for p in SOURCES.rglob("*") if p.is_file()):
        relative = source.relative_to(SOURCES)
        if relative.parts[0] not in ("blob", "userspace", "README"):
            (target / relative).parent.mkdir(parents=True, exist_ok=True)
            broken = (
                f'#if {condition}\n#error "no support for such a kernel in this stand-in"\n#endif' if condition else ""
            )
            values = {"VERSION": version, "LICENSE": LICENSES[flavor], "BREAK": broken, "INIT": refusal}
            _substitute(source, target / relative, **values)
    for blob, folder in (("nv-kernel", "nvidia"), ("nv-modeset-kernel", "nvidia-modeset")):
        source = _substitute(SOURCES / f"blob/{blob}.c", work / f"{blob}.c", VERSION=version, FLAVOR=flavor)
        output = target / folder / f"{blob}.o_binary"
        run(["gcc", *_BLOB_FLAGS, "-c", "-o", output, source.name], timeout=60, cwd=work)


def _substitute(source: Path, target: Path, **values: str) -> Path:
    text = source.read_text()
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    target.write_text(text)
    return target


def main() -> None:
    """Make the stand-ins asked for and describe them."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.light", description=__doc__)
    parser.add_argument("--version", action="append")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    print_drivers(make_light(options.version or VERSIONS), as_json=options.json)


if __name__ == "__main__":
    main()
