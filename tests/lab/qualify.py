"""``make qualify``: every real driver of the lab on a 6.1 and a 6.12 kernel, as far as Secure Boot; writes a report.

What takes too long for each change: 470 (patched), 535 and 550, proprietary and open, built, signed, joined in a client
root, booted under Secure Boot with our certificate; beside them the cells that must fail, for the compiler's own
reasons. Everything lies under .qualify/; a second run reuses what is there. The report is a dated file of
docs/qualification/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import platform
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from builder.tools.machine import processors
from tests.lab.distro import LabDistro, make_distro
from tests.lab.drivers import make_real
from tests.lab.kernels import LabKernel
from tests.lab.matrix import stream, write_lab_matrix
from tests.lab.runfile import LabDriver

TOP = Path(".qualify")
REPORTS = Path("docs/qualification")
PROGRAM = Path(sys.executable).parent / "repobuild"
SERIES = ("6.12",)
BRANCHES = ("470", "535", "550")
_WORDS = 6  # lines of a compiler shown for a cell that failed


def main() -> None:
    """Run the good cells, then those that must fail, and write the report."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.qualify", description=__doc__)
    parser.add_argument("--level", default="secureboot", choices=("static", "install", "boot", "secureboot"))
    parser.add_argument("--branch", action="append", help="only these (repeatable)")
    options = parser.parse_args()
    TOP.mkdir(exist_ok=True)
    distro = make_distro(series=SERIES)
    drivers = make_real(options.branch or BRANCHES)
    kernels = _kernels(distro)
    good = _run("good", distro, drivers, kernels, options.level)
    unpatched = [replace(d, patches=()) for d in drivers if d.branch == "470"]
    bad = _run("unpatched", distro, unpatched, kernels[-1:], "static") if unpatched else None
    path = REPORTS / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.md"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_report(kernels, drivers, good, bad, options.level))
    print(f"{path} was written")


def _kernels(distro: LabDistro) -> list[LabKernel]:
    """One kernel a series: the older of the host's own, and the further ones."""
    generic = [k for k in distro.kernels if k.variant == "generic"]
    first = generic[0].release.rpartition(".")[0]
    return [generic[0], *(k for k in generic if not k.release.startswith(f"{first}."))]


def _run(
    name: str, distro: LabDistro, drivers: Sequence[LabDriver], kernels: Sequence[LabKernel], level: str
) -> dict[str, Any]:
    folder = TOP / name
    streams = [stream(f"r{d.branch}{'-open' if f == 'open' else ''}", d.branch, f) for d in drivers for f in d.flavors]
    streams.append(stream("latest", "newest-complete", "proprietary", default=True))
    config = write_lab_matrix(folder, distro, drivers, streams, kernels=[k.release for k in kernels])
    certificate = TOP / "keys/modules.pem"
    if not certificate.is_file():
        _call("key", "new", "--gnupghome", TOP / "keys", "--name", "throw-away")
        _call("key", "new-module", "--cert", certificate, "--name", "throw-away kernel modules")
    common = ("--config", config, "--work", _work(name))
    _call("pin", *common)
    signing = ("--gnupghome", TOP / "keys", "--module-cert", certificate, "--repo", folder / "repo", "--level", level)
    done = _call("matrix", *common, *signing, "--json", ok=(0, 70))
    return dict(json.loads(done))


def _work(name: str) -> Path:
    """A folder of its own for each run: the good cells of one would stand in for the failed ones of the other."""
    return TOP / ("work" if name == "good" else f"{name}-work")


def _call(*argv: str | Path, ok: Sequence[int] = (0,)) -> str:
    words = [str(PROGRAM), *(str(word) for word in argv)]
    print("$", " ".join(["repobuild", *words[1:]]), file=sys.stderr)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in ok:
        sys.exit(f"exit code {done.returncode}")
    return done.stdout


def _report(
    kernels: Sequence[LabKernel],
    drivers: Sequence[LabDriver],
    good: dict[str, Any],
    bad: dict[str, Any] | None,
    level: str,
) -> str:
    lines = [
        f"# Qualification of {dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "",
        (
            f"`make qualify` on {platform.freedesktop_os_release().get('PRETTY_NAME')}, {platform.machine()}, "
            f"{processors()} processors, QEMU without KVM. Level asked for: {level}."
        ),
        "",
        "Kernels: " + ", ".join(f"{k.release} ({k.core.name}-{k.core.evr})" for k in kernels) + ".",
        "Drivers: " + ", ".join(f"{d.version} ({', '.join(d.flavors)})" for d in drivers) + ".",
        "",
        "| cell | outcome | level | checks | kmod RPM, MB | built in, s |",
        "|---|---|---|---|---|---|",
    ]
    lines += [_row(unit) for unit in good["units"] if unit["kind"] == "kmod-nvidia"]
    lines += ["", "What the kernel said of `nvidia` under Secure Boot:", ""]
    lines += [line for unit in good["units"] for line in _words(unit)]
    if bad is not None:
        lines += ["", "## Cells that must fail, without the patches of matrix.yaml", ""]
        for unit in bad["units"]:
            if unit["kind"] == "kmod-nvidia":
                lines += [f"* `{unit['id']}`: {unit['reason']}", "", "```"]
                lines += [*_evidence(unit["id"]), "```"]
    return "\n".join(lines) + "\n"


def _row(unit: dict[str, Any]) -> str:
    size = f"{unit['bytes'] / 1e6:.2f}" if unit["bytes"] else "–"
    seconds = f"{unit['seconds']:.0f}" if unit["seconds"] else "–"
    passed = sum(c["outcome"] == "ok" for c in unit["checks"])
    outcome = "good" if unit["ok"] else unit["reason"]
    level = unit["level"] or "–"
    return f"| {unit['id']} | {outcome} | {level} | {passed} of {len(unit['checks'])} | {size} | {seconds} |"


def _words(unit: dict[str, Any]) -> list[str]:
    found = [c for c in unit["checks"] if c["name"] in ("secureboot: nvidia", "boot: nvidia")]
    return [f"* `{unit['id']}`: {' · '.join(c['evidence'])}" for c in found]


def _evidence(unit_id: str) -> list[str]:
    done = json.loads(
        _call("why", unit_id, "--config", TOP / "unpatched/matrix.yaml", "--work", _work("unpatched"), "--json")
    )
    lines = [line for line in done.get("failed", []) if "error" in line] or done.get("failed", [])
    return lines[:_WORDS]


if __name__ == "__main__":
    main()
