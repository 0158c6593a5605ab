"""``repobuild matrix`` again, with nothing to do: what a release engineer waits for when nothing changed."""

from __future__ import annotations

import json
import sys
from collections.abc import Collection
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from benchmarks.harness import Benchmark, BenchmarkError, Clock, Sides
from benchmarks.lab import make_settings
from builder.pipeline.settings import Settings
from builder.tools.run import Completed, run
from tests.lab.light import make_light

CELLS = 3
_VERSION = "535.261.03"
_MAIN = "from builder.cli import main; main()"
_PEAK = (
    "import atexit, resource; from pathlib import Path; "
    "atexit.register(lambda: Path(%r).write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)))"
)


def _prepare(tmp: Path, _stack: ExitStack) -> Sides:
    settings = make_settings(tmp, make_light((_VERSION,)), kernels=CELLS)
    first = run_matrix(settings, "--json")
    cells = [action for action in json.loads(first.stdout)["units"] if action["kind"] == "kmod-nvidia"]
    if len(cells) != CELLS:
        raise BenchmarkError(f"the lab's matrix has {len(cells)} cells, not {CELLS}")

    current, results = publications(json.loads(first.stdout)), results_in(settings.work)

    def ours(_folder: Path, clock: Clock) -> Collection[str]:
        with clock.timed():
            done = run_matrix(settings, "--json")
        document = json.loads(done.stdout)
        changed = [d["distribution"] for d in document["distributions"] if d["publication"]["changed"]]
        if changed or results_in(settings.work) != results or publications(document) != current:
            raise BenchmarkError("there was something to do", details=changed)
        return current

    return Sides(ours=ours, peer=None)


def run_matrix(settings: Settings, *words: str, peak: Path | None = None) -> Completed:
    """The program in a process of its own; ``peak`` is a file that gets its largest memory in bytes."""
    main = _MAIN if peak is None else f"{_PEAK % str(peak)}; {_MAIN}"
    places = {"--config": settings.config, "--work": settings.work, "--gnupghome": settings.gnupghome}
    where = [str(word) for pair in places.items() for word in pair]
    return run([sys.executable, "-c", main, "matrix", *where, *words], timeout=3600)


def publications(document: dict[str, Any]) -> list[str]:
    """Digests of what is current, and every unit with its key."""
    digests = [d["publication"]["digest"] for d in document["distributions"]]
    return [*digests, *(f"{unit['id']} {unit['key']}" for unit in document["units"])]


def results_in(work: Path) -> dict[str, int]:
    """Every build result with the time it was made: a build would add or replace one."""
    return {path.parent.name: path.stat().st_mtime_ns for path in (work / "store/results").glob("*/result.json")}


REPEAT = Benchmark(
    name="repeat",
    work=f"repobuild matrix again, {CELLS} light cells and their packages, nothing to do",
    peer="none",
    note="A whole process: interpreter, configuration, plan, gates, publication found to be current.",
    prepare=_prepare,
)
