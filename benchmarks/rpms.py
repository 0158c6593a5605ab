"""Many small RPMs of one rpmbuild call: input of benchmarks."""

from __future__ import annotations

from pathlib import Path

from builder.model.cells import Artifact
from builder.tools.rpmbuild import defines, reproducible_macros
from builder.tools.rpms import read_artifact
from builder.tools.run import run

EPOCH = 1_700_000_000
_FILES = 12  # in each package


def make_small_rpms(folder: Path, count: int) -> list[Artifact]:
    """``count`` packages named bench-000 … with a dozen files each, sorted by name."""
    names = [f"bench-{number:03}" for number in range(count)]
    lines = ["Name: bench", "Version: 1.0", "Release: 1", "Summary: Benchmark", "License: MIT"]
    lines += ["%description", "Benchmark."]
    install = ["%install"]
    for name in names:
        place = f"/opt/bench/{name}"
        lines += [f"%package -n {name}", f"Summary: {name}", "Requires: filesystem", f"Provides: tool({name}) = 1.0"]
        lines += [f"%description -n {name}", f"Benchmark {name}.", f"%files -n {name}", place]
        install.append(f"mkdir -p %{{buildroot}}{place}")
        install.append(f"for n in $(seq {_FILES}); do echo {name} $n > %{{buildroot}}{place}/$n; done")
    spec = folder / "bench.spec"
    spec.write_text("\n".join([*lines, *install]) + "\n")
    macros = {**reproducible_macros(), "_topdir": str(folder / "top"), "debug_package": "%{nil}"}
    macros |= {"_build_id_links": "none", "_binary_payload": "w1.gzdio", "__os_install_post": "%{nil}"}
    argv: list[str | Path] = ["rpmbuild", "-bb", *defines(macros), "--target", "x86_64", spec]
    run(argv, timeout=1800, env={"SOURCE_DATE_EPOCH": str(EPOCH), "HOME": str(folder)})
    return [read_artifact(path) for path in sorted((folder / "top/RPMS/x86_64").glob("*.rpm"))]
