"""Joining on the host: how long ``nvidia-kmod-join`` takes for a kernel, and how large packages are beside modules.

Packages come from a folder (a publication, or a work folder) or are made on the spot with the light driver. They are
installed into a client root of the lab; there all modules of one kernel are removed and joined again.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides
from benchmarks.lab import lab, make_settings
from builder.pipeline.events import ignore
from builder.pipeline.matrix import Stage
from builder.pipeline.matrix import run as run_stages
from builder.tools.rpms import RpmHeader, file_sha256, read_header
from builder.tools.run import run
from tests.lab.client import Client, make_client
from tests.lab.kernels import LabKernel
from tests.lab.light import make_light

_VERSION = "535.261.03"  # of the stand-in
_JOIN = """
rm -f "/lib/modules/$1/extra/nvidia"/*.ko
start=$(date +%s%N)
nvidia-kmod-join "$1"
end=$(date +%s%N)
echo $((end - start))
"""
_OBJECT = "nvidia-kmod-object("
_NOTE = (
    "Time of nvidia-kmod-join for one kernel with none of its modules there: sha256 of objects, unpacking, sha256, "
    "rename, depmod; measured inside the client. Whole modules are what the client has afterwards, signatures included."
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pair:
    """A kmod package and the objects' package that it is joined with."""

    kmod: Path
    objects: Path
    kernel: LabKernel
    driver: str  # 535.261.03-open


def join_benchmarks(packages: Path | None) -> tuple[Benchmark, ...]:
    """One for each driver and flavor below a folder, its first kernel of the lab; join-light without a folder."""
    if packages is None:
        return (_benchmark("join-light", f"light driver {_VERSION}, open", None),)
    pairs = {pair.driver: pair for pair in reversed(list(_pairs(packages)))}
    return tuple(_benchmark(f"join-{name}", f"NVIDIA {name}", pairs[name]) for name in sorted(pairs))


def _benchmark(name: str, work: str, pair: Pair | None) -> Benchmark:
    prepare = partial(_prepare, pair=pair)
    return Benchmark(
        name=name, work=f"join the modules of one kernel: {work}", peer="none", note=_NOTE, prepare=prepare
    )


def _pairs(folder: Path) -> Iterator[Pair]:
    """By kernel and driver; the newest release where there are several."""
    kernels = {f"kmod-nvidia-{k.release.removesuffix(f'.{lab().arch}')}": k for k in lab().kernels}
    paths = {*folder.rglob("*.rpm"), *(folder / "Packages").rglob("*.rpm")}  # the latter is a link in a publication
    found = [(path, read_header(path)) for path in sorted(paths) if _is_wanted(path)]
    objects = {header.provides: path for path, header in found if header.nevra.name == "nvidia-kmod-objects"}
    for path, header in found:
        kernel = kernels.get(header.nevra.name)
        needed = {requirement for requirement in header.requires if requirement.startswith(_OBJECT)}
        fitting = [other for provides, other in objects.items() if needed and needed <= set(provides)]
        if kernel is not None and fitting:
            yield Pair(kmod=path, objects=fitting[-1], kernel=kernel, driver=_driver(header))


def _is_wanted(path: Path) -> bool:
    return path.name.startswith(("kmod-nvidia-", "nvidia-kmod-objects-")) and not path.name.endswith(".src.rpm")


def _driver(header: RpmHeader) -> str:
    evr = header.nevra.evr
    return f"{evr.version}-{'open' if '.open.' in evr.release else 'proprietary'}"


def _prepare(tmp: Path, _stack: ExitStack, *, pair: Pair | None) -> Sides:
    chosen = pair or _light_pair(tmp)
    release = chosen.kernel.release
    (tmp / "packages").mkdir()
    for rpm in (chosen.kmod, chosen.objects):
        shutil.copyfile(rpm, tmp / "packages" / rpm.name)
    core = chosen.kernel.core
    client = make_client(tmp / "client", lab(), tmp / "packages", [f"{core.name}-{core.evr}"])
    client.dnf("install", *(f"/srv/repobuild/{rpm.name}" for rpm in (chosen.kmod, chosen.objects)))
    folder = client.root / f"usr/lib/modules/{release}/extra/nvidia"

    def ours(_folder: Path, clock: Clock) -> Collection[str]:
        clock.add(_join(client, release))
        return [f"{path.name} {file_sha256(path)}" for path in sorted(folder.glob("*.ko"))]

    return Sides(ours=ours, peer=None, sizes=_sizes(chosen, sorted(folder.glob("*.ko")), tmp))


def _light_pair(tmp: Path) -> Pair:
    settings = make_settings(tmp, make_light((_VERSION,)), kernels=1)
    report = run_stages(settings, ignore, Stage.FETCH | Stage.BUILD | Stage.QUALIFY)
    bad = [f"{o.unit.id}: {o.reason}" for o in report.outcomes if not o.ok]
    pairs = list(_pairs(settings.work / "store/results"))
    if bad or len(pairs) != 1:
        raise BenchmarkError(f"{len(pairs)} kmod packages were made, one is expected", details=bad)
    return pairs[0]


def _join(client: Client, release: str) -> float:
    done = client.run("sh", "-ec", _JOIN, "join", release)
    return int(done.stdout.split()[-1]) / 1e9


def _sizes(pair: Pair, modules: Sequence[Path], tmp: Path) -> dict[str, int]:
    """Bytes of both packages and of the whole modules, as they lie on the host and packed each alone."""
    if not modules:
        raise BenchmarkError(f"{pair.kmod.name}: no module was joined when it was installed")
    packed = tmp / "whole.zst"
    alone = 0
    for module in modules:
        run(["zstd", "-q", "-3", "-T1", "-f", module, "-o", packed], timeout=600)
        alone += packed.stat().st_size
    return {
        f"{pair.kmod.name} (one a kernel)": pair.kmod.stat().st_size,
        f"{pair.objects.name} (one a driver)": pair.objects.stat().st_size,
        f"{len(modules)} whole modules on the host": sum(module.stat().st_size for module in modules),
        f"{len(modules)} whole modules, each by zstd -3": alone,
    }
