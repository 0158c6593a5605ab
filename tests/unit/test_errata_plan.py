"""Which advisories there are, what they ask for, when they were issued; and which of what was issued stands."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from builder.model.cells import Artifact, BuildResult, PackageKind, Unit, Verdict
from builder.model.errata import Advisory, AdvisoryFacts, AdvisoryKind, Severity
from builder.model.matrix import Driver, Flavor, Kmods, Matrix, Source
from builder.model.naming import package_nevra
from builder.model.nevra import Evr, Nevra
from builder.model.planning import UnitOutcome
from builder.plan.cells import expand_cells
from builder.plan.errata import plan_errata
from builder.plan.streams import plan_streams
from builder.plan.units import gate_unit, kmod_unit, package_units
from builder.publish.errata import fulfilled
from tests.golden import sample
from tests.tools.publishing import EPOCH, stream

RUN = Source(kind="run", arch="x86_64", url="file:///x.run")
STREAMS = (stream("r535"), stream("r535-open"), stream("latest-open", default=True), stream("latest-open-dkms"))


def the_matrix(**facts: AdvisoryFacts) -> Matrix:
    """The sample's, with installers and the facts of drivers, by branch."""

    def with_facts(driver: Driver) -> Driver:
        return replace(driver, sources=(RUN,), advisory=facts.get(f"r{driver.branch}", AdvisoryFacts()))

    branches = tuple(replace(b, drivers=tuple(map(with_facts, b.drivers))) for b in sample.MATRIX.branches)
    return replace(sample.MATRIX, branches=branches, streams=STREAMS)


def outcomes_of(matrix: Matrix) -> dict[str, UnitOutcome]:
    """Everything built, the gates of both ways of delivery too."""
    cells, _ = expand_cells(matrix)
    units: list[Unit] = [*map(kmod_unit, cells), *package_units(matrix, cells)]
    drivers = [unit for unit in units if unit.kind is PackageKind.DRIVER]
    units += [gate_unit(u, flavor, kmods) for u in drivers for flavor in Flavor for kmods in Kmods]
    return {unit.id: _built(unit, matrix) for unit in units}


def _built(unit: Unit, matrix: Matrix) -> UnitOutcome:
    nevra = package_nevra(unit, matrix, serial=1)
    artifact = Artifact(nevra=nevra, path=Path("/x"), size=1, sha256=str(nevra))
    result = BuildResult(
        key="k",
        unit_id=unit.scope,
        artifacts=(artifact,),
        source=None,
        folder=Path("/x"),
        seconds=1.0,
        source_date_epoch=EPOCH + (unit.driver.branch == "550"),
    )
    return UnitOutcome(unit=unit, result=result, verdict=Verdict(unit_id=unit.id, level="static", checks=()), reason="")


def planned(matrix: Matrix) -> dict[str, Advisory]:
    outcomes = outcomes_of(matrix)
    distribution = matrix.distributions[0]
    streams = plan_streams(matrix, distribution, "x86_64", list(outcomes.values()))
    return {a.id: a for a in plan_errata(matrix, distribution, "x86_64", streams, outcomes)}


def asked(advisory: Advisory) -> dict[str, set[str]]:
    """Names of packages by stream."""
    return {c.stream: {nevra.name for nevra in c.packages} for c in advisory.collections}


def test_one_advisory_a_driver_and_one_a_kernel_with_ids_that_every_rerun_gives() -> None:
    matrix = the_matrix()
    kernels = {f"NVIDIA-el9-kernel-{k.release}" for k in matrix.distributions[0].kernels if k.live}
    drivers = {f"NVIDIA-el9-{d.version}" for b in matrix.branches for d in b.drivers}
    assert set(planned(matrix)) == kernels | drivers
    assert set(planned(replace(matrix, advisory_prefix="LAB"))) == {
        name.replace("NVIDIA", "LAB", 1) for name in kernels | drivers
    }
    assert planned(matrix) == planned(matrix)


def test_a_drivers_advisory_asks_for_nothing_that_is_made_again_for_every_kernel() -> None:
    found = asked(planned(the_matrix())["NVIDIA-el9-535.261.03"])
    assert {"r535", "r535-open"} <= set(found)
    for names in found.values():
        assert "nvidia-driver" in names
        assert not [name for name in names if name.startswith(("kmod-nvidia-", "nvidia-kmod-common"))]


def test_a_kernels_advisory_asks_for_its_module_and_the_gate_of_the_newest_driver_that_serves_it() -> None:
    advisory = planned(the_matrix())[f"NVIDIA-el9-kernel-{sample.K503.release}"]
    found = asked(advisory)
    kmod = f"kmod-nvidia-{sample.K503.label}"
    assert found == {
        key: {kmod, "nvidia-kmod-common"} for key in ("latest-open", "r535", "r535-open")
    }  # not the dkms one
    (newest,) = {n.evr.version for c in advisory.collections if c.stream == "latest-open" for n in c.packages}
    assert newest == sample.MATRIX.branches[-1].drivers[-1].version


def test_facts_come_from_the_matrix_and_the_date_from_evidence() -> None:
    facts = AdvisoryFacts(
        issued="2025-07-24",
        severity=Severity.IMPORTANT,
        cves=("CVE-2025-1234",),
        references=("https://x",),
        text="Why.",
    )
    found = planned(the_matrix(r535=facts))
    told = found["NVIDIA-el9-535.261.03"]
    assert (told.type, told.severity, told.cves, told.references) == (
        "security",
        Severity.IMPORTANT,
        ("CVE-2025-1234",),
        ("https://x",),
    )
    assert (told.issued, told.dated, told.description) == (1753315200, True, "Why.")
    plain = found["NVIDIA-el9-550.163.01"]
    assert (plain.type, plain.issued, plain.dated) == ("bugfix", EPOCH + 1, False)
    kernel = found[f"NVIDIA-el9-kernel-{sample.K503.release}"]
    assert (kernel.kind, kernel.type) == (AdvisoryKind.KERNEL, "enhancement")


def nevra(name: str, version: str, release: str = "1") -> Nevra:
    return Nevra(name=name, evr=Evr(epoch=3, version=version, release=release), arch="x86_64")


def test_what_was_issued_stands_while_the_stream_has_it_or_newer() -> None:
    issued = [nevra("driver", "535.2"), nevra("imex", "535.2")]
    assert fulfilled(issued, issued)
    assert fulfilled(issued, [nevra("driver", "535.1"), nevra("driver", "535.3"), nevra("imex", "535.2", "2")])
    assert fulfilled(issued, [nevra("driver", "535.2")])  # a package that left is not asked for
    assert not fulfilled(issued, [nevra("driver", "535.1"), nevra("imex", "535.3")])
    assert not fulfilled(issued, [nevra("other", "535.9")])
    assert not fulfilled(issued, [])
