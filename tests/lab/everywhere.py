"""``make lab-matrix``: one matrix built in every way there is, and every byte of what it publishes compared.

Four kernels × six light drivers × flavors, signed, each way in a work folder of its own with nothing shared: the
chroot builder as root, the same in a user namespace (rootless), on Dask workers, and mock where it is installed.
Everything lies under .lab-matrix/; ``--fresh`` begins anew, ``--resume`` goes on where a run was stopped, as by a full
disk. The report is a dated file of docs/lab-matrix/.
"""

from __future__ import annotations

import argparse
import datetime as dt
import hashlib
import json
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from builder.publish.manifest import is_of_manifest
from builder.publish.tree_files import own_files
from builder.tools.machine import processors
from builder.tools.run import which
from tests.lab.client import BASE_URL
from tests.lab.distro import LabDistro, make_distro
from tests.lab.light import VERSIONS, make_light
from tests.lab.matrix import stream, write_lab_matrix
from tests.lab.rootless import FIRST
from tests.lab.runfile import LabDriver

TOP = Path(".lab-matrix")
REPORTS = Path("docs/lab-matrix")
PROGRAM = Path(sys.executable).parent / "repobuild"
SERIES = ("6.12",)
OPEN_SINCE = 515
WAYS: Mapping[str, tuple[str, ...]] = {
    "chroot": ("--builder", "chroot"),
    "rootless": ("--builder", "chroot"),
    "dask": ("--builder", "chroot", "--executor", "dask"),
    "mock": ("--builder", "mock"),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What one way came to."""

    way: str
    command: str
    seconds: float  # wall
    cells: int  # good ones
    failed: tuple[str, ...]  # units that were not built or not good
    digest: str  # of the publication
    files: Mapping[str, str]  # sha256 of every file of the publication by path, manifests left out
    resumed: bool = False  # what an earlier run had finished was kept, and its time is not counted


def main() -> None:
    """Build in each way, compare, write the report; exit code 1 where anything differs or is missing."""
    parser = argparse.ArgumentParser(prog="python -m tests.lab.everywhere", description=__doc__)
    parser.add_argument("--way", action="append", choices=tuple(WAYS), help="only these (repeatable)")
    parser.add_argument("--fresh", action="store_true", help="build again what an earlier run of this left")
    parser.add_argument("--resume", action="store_true", help="go on with what a stopped run of a way left of it")
    parser.add_argument("--no-report", action="store_true", help="print it only")
    parser.add_argument("--so-far", action="store_true", help="build nothing: compare what runs, stopped or not, made")
    options = parser.parse_args()
    wanted = options.way or [way for way in WAYS if way != "mock" or which("mock") is not None]
    if options.so_far:
        print(so_far(wanted))
        return
    TOP.mkdir(exist_ok=True)
    distro, drivers = prepare(TOP.absolute())
    outcomes = []
    for way in wanted:
        found = None if options.fresh else _read(way)
        outcomes.append(found or _build(way, distro, drivers, resume=options.resume))
    faults = differences(outcomes)
    text = _report(distro, drivers, outcomes, faults)
    print(text)
    if not options.no_report:
        path = REPORTS / f"{dt.datetime.now(dt.UTC):%Y-%m-%d}.md"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    sys.exit(1 if faults else 0)


def prepare(top: Path) -> tuple[LabDistro, list[LabDriver]]:
    """The lab's distribution, with four kernels, and six drivers, where a user without privileges can read them."""
    distro = make_distro(series=SERIES)
    if not _same(distro.repository, top / "distro"):
        shutil.rmtree(top / "distro", ignore_errors=True)
        shutil.copytree(distro.repository, top / "distro", symlinks=False)
    (top / "drivers").mkdir(exist_ok=True)
    drivers = []
    for driver in make_light(VERSIONS):
        copy = top / "drivers" / driver.run.name
        new = copy.with_suffix(".new")
        shutil.copyfile(driver.run, new)
        new.chmod(0o755)
        new.replace(copy)
        drivers.append(replace(driver, run=copy))
    if not (top / "keys").is_dir():
        _call("key", "new", "--gnupghome", top / "keys", "--name", "lab matrix")
        _call("key", "new-module", "--cert", top / "keys/modules.pem", "--name", "lab matrix: kernel modules")
    return replace(distro, repository=top / "distro"), drivers


def _same(repository: Path, copy: Path) -> bool:
    index = Path("repodata/repomd.xml")
    return (copy / index).is_file() and (copy / index).read_bytes() == (repository / index).read_bytes()


def write(folder: Path, distro: LabDistro, drivers: Sequence[LabDriver]) -> Path:
    """The matrix in a folder of its own: every kernel, driver and flavor."""
    shutil.rmtree(folder, ignore_errors=True)
    branches = dict.fromkeys(d.branch for d in drivers)
    streams = [stream(f"r{b}", b, "proprietary") for b in branches]
    streams += [stream(f"r{b}-open", b, "open") for b in branches if int(b) >= OPEN_SINCE]
    streams.append(stream("latest", "newest-complete", "open", default=True))
    return write_lab_matrix(folder, distro, drivers, streams)


def _build(way: str, distro: LabDistro, drivers: Sequence[LabDriver], *, resume: bool) -> Outcome:
    left = TOP / way / "matrix.yaml"
    if resume and left.exists():
        return _run(way, left, resumed=True)
    return _run(way, write(TOP / way, distro, drivers))


def _run(way: str, config: Path, *, resumed: bool = False) -> Outcome:
    folder = config.parent
    keys = folder / "keys"  # gpg wants to own its folder
    if not keys.exists():
        shutil.copytree(TOP / "keys", keys, ignore=shutil.ignore_patterns("S.*", "*.lock", ".#*"))
    options: list[str | Path] = ["--config", config, "--work", folder / "work"]
    _call("pin", *options)
    argv: list[str | Path] = [
        "matrix",
        *options,
        "--repo",
        folder / "repo",
        "--base-url",
        BASE_URL,
        "--gnupghome",
        keys,
    ]
    argv += ["--module-cert", keys / "modules.pem", *WAYS[way], "--json"]
    before: list[str | Path] = []
    if way == "rootless":
        before = [sys.executable, "-m", "tests.lab.rootless"]
        for path in (folder, *folder.rglob("*")):
            os.chown(path, FIRST, FIRST, follow_symlinks=False)
    started = time.monotonic()
    document = json.loads(_call(*argv, before=before, ok=(0, 70)))
    seconds = time.monotonic() - started
    units = document["units"]
    published = folder / "repo/lab9/x86_64"
    outcome = Outcome(
        way=way,
        command=_words(argv, before),
        seconds=round(seconds, 1),
        cells=sum(u["ok"] for u in units if u["kind"] == "kmod-nvidia"),
        failed=tuple(f"{u['id']}: {u['reason']}" for u in units if not u["ok"]),
        digest=published.readlink().name if published.is_symlink() else "",
        files=_digests(published),
        resumed=resumed,
    )
    (TOP / f"{way}.json").write_text(json.dumps(asdict(outcome), indent=1))
    return outcome


def _read(way: str) -> Outcome | None:
    try:
        data: dict[str, Any] = json.loads((TOP / f"{way}.json").read_text())
    except OSError:
        return None
    files = {name: sha256 for name, sha256 in data["files"].items() if not is_of_manifest(name)}
    return Outcome(**{**data, "failed": tuple(data["failed"]), "files": files})


def _digests(published: Path) -> dict[str, str]:
    """Of all but manifests and their signatures: they have a date."""
    files = sorted((name, path) for name, path in own_files(published.resolve()) if not is_of_manifest(path.name))
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files}


def differences(outcomes: Sequence[Outcome]) -> list[str]:
    """What is not as it was in the first way, and what failed in any; nothing where all is well."""
    first = outcomes[0]
    faults = [f"{one.way}: {text}" for one in outcomes for text in one.failed]
    faults += [f"{one.way}: nothing was published" for one in outcomes if not one.digest]
    for one in outcomes[1:]:
        names = sorted(first.files.keys() | one.files.keys())
        faults += [f"{one.way}: {n} differs" for n in names if first.files.get(n) != one.files.get(n)]
        if one.digest != first.digest:
            faults.append(f"{one.way}: published {one.digest}, {first.way} {first.digest}")
    return faults


def so_far(ways: Sequence[str]) -> str:
    """How many unsigned RPMs each way has made by now, and how many of them are those of the first way."""
    made = {way: _results(way) for way in ways}
    first = made[ways[0]]
    lines = ["| way | RPMs built | of cells | as the first | others |", "|---|---|---|---|---|"]
    for way, rpms in made.items():
        same = sum(first.get(name) == sha256 for name, sha256 in rpms.items())
        other = ", ".join(sorted(name for name, sha256 in rpms.items() if first.get(name) != sha256)) or "none"
        cells = sum(name.startswith("kmod-") for name in rpms)
        lines.append(f"| {way} | {len(rpms)} | {cells} | {same} | {other} |")
    return "\n".join(lines)


def _results(way: str) -> dict[str, str]:
    found = sorted((TOP / way / "work/store/results").glob("*/*.rpm"))
    return {p.name: hashlib.sha256(p.read_bytes()).hexdigest() for p in found if not p.name.endswith(".src.rpm")}


def _call(*argv: str | Path, before: Sequence[str | Path] = (), ok: Sequence[int] = (0,)) -> str:
    words = [*(str(word) for word in before), str(PROGRAM), *(str(word) for word in argv)]
    print("$", _words(argv, before), file=sys.stderr, flush=True)
    done = subprocess.run(words, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode not in ok:
        sys.exit(f"exit code {done.returncode}")
    return done.stdout


def _words(argv: Sequence[str | Path], before: Sequence[str | Path] = ()) -> str:
    here = f"{Path.cwd()}/"
    words = ["python" if word == sys.executable else str(word).removeprefix(here) for word in before]
    return " ".join([*words, "repobuild", *(str(word).removeprefix(here) for word in argv)])


def _report(distro: LabDistro, drivers: Sequence[LabDriver], outcomes: Sequence[Outcome], faults: Sequence[str]) -> str:
    first = outcomes[0]
    rpms = sum(name.endswith(".rpm") for name in first.files)
    lines = [
        f"# The lab matrix in every way, {dt.datetime.now(dt.UTC):%Y-%m-%d}",
        "",
        (
            f"`make lab-matrix` on {platform.freedesktop_os_release().get('PRETTY_NAME')}, {platform.machine()}, "
            f"{processors()} processors that others used, too: the seconds are no measurement."
        ),
        "",
        "Kernels: " + ", ".join(f"{k.release} ({k.core.name}-{k.core.evr})" for k in distro.kernels) + ".",
        "Light drivers: " + ", ".join(f"{d.version} ({', '.join(d.flavors)})" for d in drivers) + ".",
        "",
        "| way | good cells | publication | files | as the first | seconds |",
        "|---|---|---|---|---|---|",
    ]
    for one in outcomes:
        same = "–" if one is first else "yes" if (one.digest, one.files) == (first.digest, first.files) else "NO"
        digest = f"`{one.digest[:16]}…`"
        seconds = f"{one.seconds:.0f}" + (" (the rest)" if one.resumed else "")
        lines.append(f"| {one.way} | {one.cells} | {digest} | {len(one.files)} | {same} | {seconds} |")
    verdict = "differences are below" if faults else "all of them are the same, byte for byte"
    lines += ["", f"Each publication has {rpms} RPMs, signed, with signed modules, and its metadata: {verdict}.", ""]
    lines += ["Manifests, which have a date, are left out.", ""]
    lines += [f"* {fault}" for fault in faults]
    lines += [*([""] if faults else []), "Commands, after `repobuild pin` of each matrix:", "", "```"]
    lines += [one.command for one in outcomes]
    missing = [way for way in WAYS if way not in {one.way for one in outcomes}]
    lines += ["```", *(f"\nNot run: {way}." for way in missing)]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
