"""repobuild's side of benchmarks.scale, in a process of its own: ``python -m benchmarks.scale_work NAME WORD…``.

Prints JSON: wall and processors' seconds of what is timed, peak memory of the process in bytes, what was made.
"""

from __future__ import annotations

import json
import pickle
import resource
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from benchmarks.harness import Clock
from builder.model.cells import Artifact, BuildResult, Check, Outcome, Verdict
from builder.pipeline.matrix import plan_units
from builder.pipeline.units import LEVEL, run_units
from builder.pipeline.verdicts import verdict_document, verdict_key
from builder.publish import publish
from builder.publish.modulemd import modules_yaml
from builder.sign import Signer, new_key
from builder.store import Derived
from builder.tools.createrepo import write_metadata
from builder.tools.garbage import look_rarely
from builder.tools.rpms import read_artifact
from tests.tools.big_site import big_matrix, big_site
from tests.tools.publishing import EPOCH, TERMS, content_of, stream


def _publish(clock: Clock, rpms: str, site: str, count: str) -> list[str]:
    """Publish the first so many of the RPMs; artifacts and key are kept beside them."""
    place = Path(site)
    place.mkdir(exist_ok=True)
    known = Path(f"{rpms}.pickle")
    if not known.is_file():
        known.write_bytes(pickle.dumps([read_artifact(path) for path in sorted(Path(rpms).glob("*.rpm"))]))
    artifacts: list[Artifact] = pickle.loads(known.read_bytes())[: int(count)]
    home = Path(f"{rpms}.keys")
    if not home.is_dir():
        new_key(home, "repobuild benchmark")
    key = Signer.open(home).public_key()
    packages = (artifacts[0].nevra.name,)
    content = content_of([(stream("r535-open", default=True, packages=packages), ["535.261.03"], artifacts)])
    (place / "modules.yaml").write_bytes(modules_yaml(content))
    derived = Derived(place / "derived.sqlite")
    with clock.timed():
        made = publish(
            content,
            place / "repo",
            public_key=key,
            sign=lambda _: b"not signed: that is another benchmark\n",
            epoch=EPOCH,
            terms=TERMS,
            derived=derived,
        )
    derived.close()
    return [made.digest]


def _metadata(clock: Clock, rpms: str, site: str, database: str, modules: str) -> list[str]:
    """Write the metadata of all the RPMs, which lie in ``site``; a publication kept what it knew of most of them."""
    artifacts: list[Artifact] = pickle.loads(Path(f"{rpms}.pickle").read_bytes())
    known = {f"Packages/b/{a.path.name}": a.sha256 for a in artifacts}
    derived = Derived(Path(database))
    with clock.timed():
        repomd = write_metadata(
            Path(site), list(known), Path(modules).read_bytes(), epoch=EPOCH, known=known, derived=derived
        )
    derived.close()
    return [repomd.name]


def _plan(clock: Clock, work: str, kernels: str, branches: str) -> list[str]:
    with clock.timed(), big_site(Path(work), big_matrix(int(kernels), int(branches))) as shop:
        actions = plan_units(shop)
    return [f"{action.unit.id} {action.key}" for action in actions]


def _finish(clock: Clock, work: str, kernels: str, branches: str, rpm: str) -> list[str]:
    """A result and a good verdict for every unit; what is in it matters to nobody here."""
    verdict = Verdict(unit_id="x", level=LEVEL, checks=(Check(name="all", outcome=Outcome.OK, evidence=("good",)),))
    artifact = read_artifact(Path(rpm))
    with big_site(Path(work), big_matrix(int(kernels), int(branches))) as shop:
        for action in plan_units(shop):
            if action.key is None:
                continue

            def fill(folder: Path, key: str = action.key, scope: str = action.unit.scope) -> BuildResult:
                copy = folder / artifact.path.name
                shutil.copyfile(artifact.path, copy)
                own = Artifact(nevra=artifact.nevra, path=copy, size=artifact.size, sha256=artifact.sha256)
                return BuildResult(key=key, unit_id=scope, artifacts=(own,), source=None, folder=folder, seconds=1.0)

            shop.store.add_result(action.key, action.unit.scope, 1.0, fill)
            document = verdict_document(verdict)
            shop.store.ledger.record_verdict(verdict_key(action.key), LEVEL, ok=True, document=document)
    del clock
    return ["done"]


def _reuse(clock: Clock, work: str, kernels: str, branches: str) -> list[str]:
    with clock.timed(), big_site(Path(work), big_matrix(int(kernels), int(branches))) as shop:
        outcomes = run_units(shop, plan_units(shop))
    wrong = [o.unit.id for o in outcomes.values() if o.reason != "reused"]
    if wrong:
        raise SystemExit(f"{len(wrong)} were not finished: {wrong[0]}")
    return sorted(outcomes)


_WORK: dict[str, Callable[..., list[str]]] = {
    "publish": _publish,
    "metadata": _metadata,
    "plan": _plan,
    "finish": _finish,
    "reuse": _reuse,
}

if __name__ == "__main__":
    look_rarely()
    own = Clock()
    made = _WORK[sys.argv[1]](own, *sys.argv[2:])
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    sys.stdout.write(json.dumps({"seconds": own.seconds, "cpu": own.cpu, "peak": peak, "made": made}))
