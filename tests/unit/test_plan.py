"""Planning: every unit gets a decision with a reason; streams carry what is really there."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from builder.model.cells import BuildResult, Check, Decision, Outcome, PackageKind, Unit, Verdict
from builder.model.matrix import Delivery, Dnf, Driver, Flavor, Kmods, Matrix, Profile, Source, Stream
from builder.model.nevra import Evr, Nevra
from builder.model.planning import StreamPlan, UnitOutcome, UnitState
from builder.model.sources import SpecFile
from builder.plan.actions import key_of, plan_actions, unit_parts
from builder.plan.cells import expand_cells
from builder.plan.streams import belongs, cells_of_stream, offered_profiles, plan_streams, units_of_stream
from builder.plan.units import gate_combinations, gate_unit, kmod_unit, package_units, stream_units
from tests.golden import sample


def stream(name: str, branch: str | None, flavor: Flavor, kmods: Kmods = Kmods.PRECOMPILED) -> Stream:
    return Stream(
        name=name,
        branch=branch,
        flavor=flavor,
        kmods=kmods,
        default=name == "latest",
        summary=name,
        description=name,
        profiles=(Profile(name="default", packages=("nvidia-driver",)),),
        default_profile="default",
    )


VERSIONS = ("535.247.01", "535.261.03")
STREAMS = (
    stream("latest", None, Flavor.OPEN),
    stream("latest-dkms", None, Flavor.OPEN, Kmods.DKMS),
    stream("r535", "535", Flavor.PROPRIETARY),
    stream("r535-open", "535", Flavor.OPEN),
)


@pytest.fixture
def matrix() -> Matrix:
    run = Source(kind="run", arch="x86_64", url="file:///x.run")
    branches = tuple(
        replace(branch, drivers=tuple(replace(d, sources=(run,)) for d in branch.drivers))
        for branch in sample.MATRIX.branches
    )
    return replace(sample.MATRIX, branches=branches, streams=STREAMS)


def units_of(matrix: Matrix) -> tuple[Unit, ...]:
    cells, _ = expand_cells(matrix)
    return (*map(kmod_unit, cells), *package_units(matrix, cells))


def outcome(unit: Unit, *, ok: bool = True) -> UnitOutcome:
    if not ok:
        return UnitOutcome(unit=unit, result=None, verdict=None, reason="does not compile", code="build")
    result = BuildResult(key="k", unit_id=unit.scope, artifacts=(), source=None, folder=Path("/x"), seconds=1.0)
    check = Check(name="c", outcome=Outcome.OK, evidence=())
    verdict = Verdict(unit_id=unit.id, level="static", checks=(check,))
    return UnitOutcome(unit=unit, result=result, verdict=verdict, reason="built")


def planned(matrix: Matrix, outcomes: list[UnitOutcome]) -> dict[str, StreamPlan]:
    distribution = matrix.distributions[0]
    return {p.stream.name: p for p in plan_streams(matrix, distribution, "x86_64", outcomes)}


@pytest.mark.parametrize(
    ("state", "decision", "reason"),
    [
        ({"stored": True, "key": "k"}, Decision.REUSE, "built before from the same"),
        ({"selected": False}, Decision.SKIP, "not selected"),
        ({"blocked": "no pin", "hint": "repobuild pin"}, Decision.BLOCKED, "no pin"),
        ({"last_failure": "build: x"}, Decision.BUILD, "failed before: build: x"),
        ({"earlier": True}, Decision.BUILD, "changed since the last build"),
        ({"missing": "sources not fetched yet"}, Decision.BUILD, "sources not fetched yet"),
        ({}, Decision.BUILD, "not built yet"),
    ],
)
def test_every_state_has_one_decision_and_a_reason(
    matrix: Matrix, state: dict[str, object], decision: Decision, reason: str
) -> None:
    unit = units_of(matrix)[0]
    (action,) = plan_actions([UnitState(unit=unit, **state)])  # type: ignore[arg-type]
    assert action.decision is decision
    assert reason in action.reason


def test_a_key_changes_with_everything_that_can_change_bytes(matrix: Matrix) -> None:
    distribution = matrix.distributions[0]
    base: dict[str, object] = {
        "distribution": distribution,
        "chroot": distribution.chroots[0],
        "buildroot_identity": "b",
        "devel_sha256": "d",
        "source_date_epoch": 1,
        "recipe": "r",
    }
    spec = SpecFile(filename="x.spec", text="text", sources=())
    changes: list[dict[str, object]] = [
        {},
        {"buildroot_identity": "B"},
        {"devel_sha256": "D"},
        {"source_date_epoch": 2},
        {"recipe": "R"},
        {"chroot": replace(distribution.chroots[0], macros=(("dist", ".x"),))},
        {"distribution": replace(distribution, dist_tag=".y")},
        {"distribution": replace(distribution, payload="w9.xzdio")},
    ]
    keys = [key_of(unit_parts(spec, **{**base, **change})) for change in changes]  # type: ignore[arg-type]
    keys.append(key_of(unit_parts(replace(spec, text="other"), **base)))  # type: ignore[arg-type]
    assert len(set(keys)) == len(keys)
    assert key_of(unit_parts(spec, **base)) == keys[0]  # type: ignore[arg-type]


def test_latest_follows_the_newest_driver_that_has_a_module_for_every_kernel_and_keeps_the_one_before(
    matrix: Matrix,
) -> None:
    units = units_of(matrix)
    plan = planned(matrix, [outcome(u) for u in units])["latest"]
    assert [d.version for d in plan.drivers] == ["535.261.03", "550.163.01"]
    one = next(u for u in units if u.cell and u.driver.version == "550.163.01")
    plans = planned(matrix, [outcome(u, ok=u is not one) for u in units])
    assert [d.version for d in plans["latest"].drivers] == ["535.261.03"]
    ((version, reason),) = (h for h in plans["latest"].held if h[0] == "550.163.01")
    assert one.cell is not None
    assert version == "550.163.01"
    assert one.cell.kernel.release in reason
    assert "does not compile" in reason


def test_a_branch_stream_carries_a_driver_with_a_module_for_one_kernel(matrix: Matrix) -> None:
    units = units_of(matrix)
    first = next(u for u in units if u.cell and u.driver.version == "535.261.03" and u.flavor is Flavor.OPEN)
    others = [u for u in units if u.cell and u.driver == first.driver and u.flavor is Flavor.OPEN and u is not first]
    plans = planned(matrix, [outcome(u, ok=u not in others) for u in units])
    assert [d.version for d in plans["r535-open"].drivers] == ["535.261.03"]


def test_a_driver_that_would_take_a_kernels_modules_away_is_held(matrix: Matrix) -> None:
    """Hosts with that kernel could not upgrade; a kernel that neither driver serves holds nothing back."""
    older = replace(sample.driver("535.247.01"), sources=matrix.branches[1].drivers[0].sources)
    branches = tuple(replace(b, drivers=(older, *b.drivers)) if b.name == "535" else b for b in matrix.branches)
    matrix = replace(matrix, branches=branches)
    units = units_of(matrix)
    cells = {d: [u for u in units if u.cell and u.driver.version == d and u.flavor is Flavor.OPEN] for d in VERSIONS}
    lost, never = cells["535.261.03"][0], cells["535.261.03"][1]
    assert lost.cell is not None
    assert never.cell is not None
    plan = planned(matrix, [outcome(u, ok=u is not lost) for u in units])["r535-open"]
    assert [d.version for d in plan.drivers] == ["535.247.01"]
    ((version, reason),) = plan.held
    assert version == "535.261.03"
    assert f"no kmod for {lost.cell.kernel.release}" in reason
    gone = [u for of in cells.values() for u in of if u.cell and u.cell.kernel == never.cell.kernel]
    plan = planned(matrix, [outcome(u, ok=u not in gone) for u in units])["r535-open"]
    assert [d.version for d in plan.drivers] == list(VERSIONS)
    assert plan.held == ()


def test_user_space_that_failed_holds_the_driver_back_everywhere(matrix: Matrix) -> None:
    units = units_of(matrix)
    broken = [u for u in units if u.kind.value == "nvidia-driver" and u.driver.version == "535.261.03"]
    plans = planned(matrix, [outcome(u, ok=u not in broken) for u in units])
    assert plans["r535"].drivers == ()
    assert plans["r535-open"].drivers == ()
    assert "no nvidia-driver" in plans["r535"].held[0][1]


def test_a_stream_takes_its_own_flavor_and_delivery_only(matrix: Matrix) -> None:
    units = units_of(matrix)
    outcomes = [outcome(u) for u in units]
    base = next(u for u in units if u.kind.value == "nvidia-driver" and u.driver.version == "550.163.01")
    outcomes += [outcome(gate_unit(base, Flavor.OPEN, kmods)) for kmods in Kmods]
    plans = planned(matrix, outcomes)
    by_id = {o.unit.id: o for o in outcomes}
    dkms = {o.unit.id for o in units_of_stream(plans["latest-dkms"], by_id)}
    precompiled = {o.unit.id for o in units_of_stream(plans["latest"], by_id)}
    assert not any("@5.14" in i for i in dkms)
    assert any(i.startswith("dkms-nvidia") for i in dkms)
    assert not any("dkms" in i for i in precompiled)
    assert "nvidia-kmod-common-open:550.163.01@el9.x86_64" in precompiled
    assert "nvidia-kmod-common-open-dkms:550.163.01@el9.x86_64" in dkms


def test_gates_exist_only_for_combinations_that_a_stream_uses(matrix: Matrix) -> None:
    cells, _ = expand_cells(matrix)
    newest = matrix.branches[-1].drivers[-1]
    combinations = gate_combinations(matrix, matrix.distributions[0], "x86_64", newest, cells)
    assert set(combinations) == {(Flavor.OPEN, Kmods.PRECOMPILED), (Flavor.OPEN, Kmods.DKMS)}


def test_32_bit_libraries_that_failed_hold_the_driver_back_and_an_archive_without_any_does_not(matrix: Matrix) -> None:
    """Whether an archive has them is known once it is here; a driver without them has no such unit then."""
    units = units_of(matrix)
    small = [u for u in units if u.kind is PackageKind.COMPAT32]
    assert {u.driver.version for u in small} == {u.driver.version for u in units if u.kind is PackageKind.DRIVER}
    one = next(u for u in small if u.driver.version == "535.261.03")
    plans = planned(matrix, [outcome(u, ok=u is not one) for u in units])
    assert plans["r535"].drivers == ()
    assert "no nvidia-driver-compat32: does not compile" in plans["r535"].held[0][1]
    plans = planned(matrix, [outcome(u) for u in units if u not in small])
    assert [d.version for d in plans["r535"].drivers] == ["535.261.03"]


def test_only_architectures_with_32_bit_programs_have_32_bit_libraries(matrix: Matrix) -> None:
    run = Source(kind="run", arch="aarch64", url="file:///y.run")
    drivers = [(b, replace(b.drivers[-1], sources=(*b.drivers[-1].sources, run))) for b in matrix.branches]
    el9 = sample.distribution(arches=("x86_64", "aarch64"))
    both = replace(matrix, distributions=(el9,), branches=tuple(replace(b, drivers=(d,)) for b, d in drivers))
    kinds = {(u.arch, u.kind) for u in package_units(both, ())}
    assert ("x86_64", PackageKind.COMPAT32) in kinds
    assert ("aarch64", PackageKind.DRIVER) in kinds
    assert ("aarch64", PackageKind.COMPAT32) not in kinds


def with_fabric_manager(matrix: Matrix, *versions: str) -> Matrix:
    """The drivers of these versions get a fabric manager."""

    def more(d: Driver) -> Driver:
        source = Source(kind="fabricmanager", arch="x86_64", url=f"file:///fm-{d.version}.tar.xz")
        return replace(d, sources=(*d.sources, source)) if d.version in versions else d

    branches = tuple(replace(b, drivers=tuple(more(d) for d in b.drivers)) for b in matrix.branches)
    return replace(matrix, branches=branches)


def test_a_fabric_manager_that_failed_holds_its_driver_and_one_that_is_not_named_holds_none(matrix: Matrix) -> None:
    matrix = with_fabric_manager(matrix, "535.261.03")
    units = units_of(matrix)
    (one,) = (u for u in units if u.kind is PackageKind.FABRICMANAGER)
    assert one.driver.version == "535.261.03"
    plans = planned(matrix, [outcome(u, ok=u is not one) for u in units])
    assert plans["r535"].drivers == ()
    assert "no nvidia-fabricmanager: does not compile" in plans["r535"].held[0][1]
    assert [d.version for d in plans["latest"].drivers] == ["550.163.01"]


def test_a_profile_is_offered_where_the_newest_driver_has_its_packages() -> None:
    fm = Profile(name="fm", packages=("nvidia-driver", "nvidia-fabricmanager"))
    wrong = Profile(name="wrong", packages=("nvidia-drivre",))
    one = replace(stream("r535", "535", Flavor.OPEN), profiles=(*STREAMS[0].profiles, fm, wrong))

    def offered(*packages: tuple[str, str]) -> list[str]:
        evrs = [(name, Evr(epoch=3, version=version, release="1.el9")) for name, version in packages]
        nevras = [Nevra(name=name, evr=evr, arch="x86_64") for name, evr in evrs]
        return [p.name for p in offered_profiles(one, "535.261.03", nevras)]

    assert offered(("nvidia-fabricmanager", "535.261.03")) == ["default", "fm", "wrong"]
    assert offered(("nvidia-fabricmanager", "535.247.01")) == ["default", "wrong"]
    assert offered() == ["default", "wrong"]


@pytest.mark.parametrize(
    ("dnf", "kinds"),
    [
        ((), set()),
        ((Dnf.DNF4,), {PackageKind.DNF_PLUGIN}),
        ((Dnf.DNF5,), {PackageKind.LIBDNF5_PLUGIN}),
        (tuple(Dnf), {PackageKind.DNF_PLUGIN, PackageKind.LIBDNF5_PLUGIN}),
    ],
)
def test_the_plugins_are_those_of_what_the_hosts_have_and_of_precompiled_streams_alone(
    dnf: tuple[Dnf, ...], kinds: set[PackageKind], matrix: Matrix
) -> None:
    units = units_of(replace(matrix, distributions=(sample.distribution(dnf=dnf),)))
    plugins = {u for u in units if u.kind in (PackageKind.DNF_PLUGIN, PackageKind.LIBDNF5_PLUGIN)}
    assert {u.kind for u in plugins} == kinds
    outcomes = {u.id: outcome(u) for u in units}
    plans = planned(replace(matrix, distributions=(units[0].distribution,)), list(outcomes.values()))
    of = {
        name: {o.unit.kind for o in units_of_stream(plan, outcomes) if o.unit in plugins}
        for name, plan in plans.items()
    }
    assert of == {"latest": kinds, "latest-dkms": set(), "r535": kinds, "r535-open": kinds}


def test_the_source_package_exists_where_a_profile_names_it(matrix: Matrix) -> None:
    def kinds(of: Matrix) -> set[tuple[str, PackageKind]]:
        return {(u.driver.version, u.kind) for u in units_of(of) if u.kind is PackageKind.OPEN_SOURCE}

    assert kinds(matrix) == set()
    src = Profile(name="src", packages=("nvidia-open-kernel-source",))
    streams = tuple(replace(s, profiles=(*s.profiles, src)) if s.name == "r535-open" else s for s in matrix.streams)
    assert kinds(replace(matrix, streams=streams)) == {("535.261.03", PackageKind.OPEN_SOURCE)}


def named_matrix(matrix: Matrix) -> Matrix:
    return replace(matrix, distributions=(sample.distribution("el7", delivery=Delivery.BRANCH_PACKAGES),))


def test_a_stream_in_package_names_has_its_own_of_everything(matrix: Matrix) -> None:
    named = named_matrix(matrix)
    outcomes = {u.id: outcome(u) for u in units_of(named)}
    plan = planned(named, list(outcomes.values()))["latest"]
    newest = [u for u in units_of(named) if u.driver == plan.drivers[-1] and belongs(u, plan.stream)]
    own = stream_units(plan.stream, newest)
    assert {u.label for u in own} == {"latest"}
    assert PackageKind.DNF_PLUGIN not in {u.kind for u in units_of(named)}
    assert {u.kind for u in own} == {
        PackageKind.RELEASE,
        PackageKind.GATE,
        PackageKind.STREAM_KMODS,
        PackageKind.OBJECTS,
        PackageKind.DRIVER,
        PackageKind.COMPAT32,
    }
    assert len({u.id for u in own} | {u.scope for u in own}) == 2 * len(own)
    # Only what carries the stream's name is published; the cells that it is made of are told of all the same.
    made = {u.id: outcome(u) for u in own}
    assert {o.unit.id for o in units_of_stream(plan, {**outcomes, **made})} == set(made)
    cells = cells_of_stream(plan, outcomes)
    assert {o.unit.driver for o in cells} == set(plan.drivers)
    assert {o.unit.flavor for o in cells} == {Flavor.OPEN}


def test_a_dkms_stream_in_package_names_has_sources_instead_of_modules(matrix: Matrix) -> None:
    named = named_matrix(matrix)
    plan = planned(named, [outcome(u) for u in units_of(named)])["latest-dkms"]
    units = [u for u in units_of(named) if u.driver == plan.drivers[-1] and belongs(u, plan.stream)]
    kinds = {u.kind for u in stream_units(plan.stream, units)}
    assert PackageKind.DKMS in kinds
    assert not kinds & {PackageKind.STREAM_KMODS, PackageKind.OBJECTS}


def test_profiles_name_the_packages_of_their_stream() -> None:
    one = replace(
        stream("r535", "535", Flavor.PROPRIETARY),
        profiles=(
            Profile(name="default", packages=("nvidia-driver", "nvidia-driver-cuda", "cuda-drivers")),
            Profile(name="fm", packages=("nvidia-driver", "nvidia-fabricmanager")),
        ),
    )
    evr = Evr(epoch=3, version="535.261.03", release="1.el7")
    has = [Nevra(name=n, evr=evr, arch="x86_64") for n in ("nvidia-driver-branch-535", "nvidia-driver-branch-535-cuda")]
    (profile,) = offered_profiles(one, "535.261.03", has, one.label)
    assert profile.packages == ("nvidia-driver-branch-535", "nvidia-driver-branch-535-cuda")
    fm = [*has, Nevra(name="nvidia-fabricmanager-branch-535", evr=evr, arch="x86_64")]
    assert [p.name for p in offered_profiles(one, "535.261.03", fm, one.label)] == ["default", "fm"]
