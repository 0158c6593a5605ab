"""The production matrix as if it had been built: the support matrix's own code from plan to page, without builds.

Which cells fail and when things happened is made up here; everything else is what the program makes of it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fnmatch import fnmatch
from functools import cache
from html.parser import HTMLParser
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from builder.model.cells import Artifact, BuildResult, Check, Outcome, PackageKind, Unit, Verdict
from builder.model.matrix import Distribution, Matrix
from builder.model.nevra import Evr, Nevra
from builder.model.planning import Excluded, UnitOutcome
from builder.pipeline.configure import configure
from builder.pipeline.report import support_facts
from builder.pipeline.settings import Settings
from builder.plan.cells import expand_cells
from builder.plan.streams import plan_streams
from builder.plan.units import kmod_unit, package_units
from builder.report import CellTimes, CurrentPublication, site_document, support_matrix, update_times

ROOT = Path(__file__).parent.parent.parent
CERTIFICATE = SimpleNamespace(name="Example kernel modules", fingerprint="5e" * 32)
WEEK = 7 * 86400.0
MADE = 1_760_000_000.0  # 2025-10-09, seconds
FAILED: Mapping[str, str] = {
    "r550@6.12.0-124*": "nvidia.ko: imports drm_gem_object_put with CRC 0x1f2e, the kernel exports 0x77aa",
    "r550-open@6.12.0-124*": "nvidia.ko: imports drm_gem_object_put with CRC 0x1f2e, the kernel exports 0x77aa",
    "r595-open:595.71.05@6.12.0-124*": "conftest: <drm/drm_drv.h> & friends moved; nvidia-drm does not compile",
    "r595-open@6.12.0-124*": "conftest: <drm/drm_drv.h> & friends moved; nvidia-drm does not compile",
    "r535@4.18.0-553.77*": "nvidia-uvm: too few arguments to 'follow_pfn'",
}


@cache
def production(kernels: int = 0) -> tuple[Matrix, tuple[Excluded, ...], tuple[Unit, ...]]:
    """The files of this repository; with ``kernels`` each of el8, el9 and el10 has so many."""
    matrix = configure(Settings(config=ROOT / "matrix.yaml")).matrix
    if kernels:
        grown = tuple(_grown(d, kernels) if d.name != "el7" else d for d in matrix.distributions)
        matrix = replace(matrix, distributions=grown)
    else:  # when these two were built stands in their RPMs, which nobody here has: two dates to show freshness with
        grown = tuple(_dated(d) for d in matrix.distributions)
        matrix = replace(matrix, distributions=grown)
    cells, excluded = expand_cells(matrix)
    units = (*(kmod_unit(cell) for cell in cells), *package_units(matrix, cells, signed=True))
    return matrix, tuple(Excluded(cell=cell, reason=reason) for cell, reason in excluded), units


def _dated(distribution: Distribution) -> Distribution:
    times = {"el9": "2025-10-07T17:20Z", "el10": "2025-10-08T04:05Z"}
    kernels = tuple(replace(k, built=times.get(distribution.name)) for k in distribution.kernels)
    return replace(distribution, kernels=kernels)


def _grown(distribution: Distribution, number: int) -> Distribution:
    first = distribution.kernels[0]
    version, _, rest = first.release.partition("-")
    tail = rest.partition(".")[2]
    made = [
        replace(first, release=f"{version}-{600 + n}.{n % 7}.{tail}", built="2025-10-07T17:20Z") for n in range(number)
    ]
    return replace(distribution, kernels=tuple(made))


def production_site(
    *,
    kernels: int = 0,
    failed: Mapping[str, str] = FAILED,
    signed: bool = True,
    logs: bool = True,
    place: str | None = None,
) -> dict[str, Any]:
    """What ``site_document`` makes of it."""
    matrix, excluded, units = production(kernels)
    configuration = SimpleNamespace(matrix=matrix, excluded=excluded, units=())
    rest: Any = SimpleNamespace(sources={})
    shop: Any = SimpleNamespace(
        configuration=configuration, signing=SimpleNamespace(certificate=CERTIFICATE if signed else None), facts=rest
    )
    publications, times, found = [], {}, {}
    for distribution in matrix.distributions:
        for arch in distribution.arches:
            mine = [u for u in units if u.distribution == distribution and u.arch == arch]
            outcomes = {u.id: _outcome(u, failed, signed=signed) for u in mine}
            streams = plan_streams(matrix, distribution, arch, list(outcomes.values()))
            document = support_matrix(support_facts(shop, distribution, arch, streams, outcomes))
            where = f"{distribution.name}/{arch}"
            built = {c["package"]: MADE - 3600 * (n % 9) for n, c in enumerate(document["cells"]) if c["package"]}
            known: dict[str, CellTimes] = update_times({}, document, MADE, built)
            times[where] = known
            names = (c["id"] for c in document["cells"] if c["outcome"] in ("published", "failed"))
            found[where] = {name: f"logs/{n:010x}.log" for n, name in enumerate(names)} if logs else {}
            publications.append(CurrentPublication(digest="0" * 64, document=document))
    return site_document(publications, times, place=place, logs=found, no_log="logs are not published here")


def _outcome(unit: Unit, failed: Mapping[str, str], *, signed: bool) -> UnitOutcome:
    reason = next((text for glob, text in failed.items() if fnmatch(unit.id, glob)), None)
    if reason is not None:
        return UnitOutcome(unit=unit, result=None, verdict=None, reason=reason, code="build-failed")
    name = f"kmod-nvidia-{unit.cell.kernel.label}" if unit.cell else unit.kind.value
    nevra = Nevra(name=name, evr=Evr(epoch=3, version=unit.driver.version, release="1"), arch=unit.arch)
    result = BuildResult(
        key=f"key of {unit.id}",
        unit_id=unit.id,
        artifacts=(Artifact(nevra=nevra, path=Path("/nowhere"), size=1, sha256="0" * 64),),
        source=None,
        folder=Path("/nowhere"),
        seconds=1.0,
        signer=CERTIFICATE.fingerprint if signed and unit.kind is PackageKind.KMOD else "",
    )
    level = "secureboot" if unit.driver.branch in ("535", "580") else "static"
    verdict = Verdict(unit_id=unit.id, level=level, checks=(Check(name="x", outcome=Outcome.OK, evidence=()),))
    return UnitOutcome(unit=unit, result=result, verdict=verdict, reason="built")


_VOID = ("meta", "br", "link", "img", "input")
_END_MAY_BE_LEFT_OUT = ("td", "th", "tr", "tbody", "thead", "p", "li", "option")  # by the HTML standard


class Page(HTMLParser):
    """A page's text, its elements, and whatever would load something."""

    def __init__(self, page: bytes) -> None:
        super().__init__()
        self.text = ""
        self.links: list[str] = []
        self.loads: list[str] = []
        self.handlers: list[str] = []
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.feed(page.decode())
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        self.elements.append((tag, given))
        if tag not in _VOID and tag not in _END_MAY_BE_LEFT_OUT:
            self.open.append(tag)
        if tag in ("link", "img", "iframe", "object", "embed", "base", "video", "audio") or "src" in given:
            self.loads.append(tag)
        self.handlers += [name for name in given if name.startswith("on") or name == "style"]
        if "href" in given:
            self.links.append(given["href"] or "")

    def handle_endtag(self, tag: str) -> None:
        if tag not in _END_MAY_BE_LEFT_OUT:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.text += data
