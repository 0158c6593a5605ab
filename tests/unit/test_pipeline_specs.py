"""From facts to what plan is told of a unit: what cannot be rendered blocks its own unit, nothing else."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Source
from builder.model.planning import UnitState
from builder.model.sources import ArchiveMember, Buildroot, DriverSources
from builder.pipeline.events import ignore
from builder.pipeline.specs import exists, unit_states
from builder.pipeline.workshop import Facts, Workshop
from builder.store import Store
from tests.golden import sample

FM = PackageKind.FABRICMANAGER
SOURCE = Source(kind="fabricmanager", arch="x86_64", url="file:///fm.tar.xz")
D535 = replace(sample.D535, sources=(SOURCE,))


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Workshop]:
    """A run that has a driver's sources, its fabric manager and a buildroot."""
    facts = Facts()
    facts.sources[D535.version, "x86_64"] = sample.sources(D535)
    facts.archives[D535.version, "x86_64", FM] = sample.archive(FM)
    chroot = sample.EL9.chroots[0]
    facts.buildroots[chroot.name] = Buildroot(chroot=chroot, identity="b", packages=(), path=None)
    configuration: Any = SimpleNamespace(matrix=sample.MATRIX, selected=frozenset())
    signing: Any = SimpleNamespace(certificate=None, identity="", name=None)
    rest: Any = SimpleNamespace(recipe="r")
    with Store.open(tmp_path / "work") as store:
        yield Workshop(
            settings=rest,
            configuration=configuration,
            store=store,
            builder=rest,
            signing=signing,
            listener=ignore,
            facts=facts,
        )


def state_of(shop: Workshop, unit: Unit) -> UnitState:
    (state,) = unit_states(shop, [unit])
    return state


def unit(kind: PackageKind) -> Unit:
    return sample.unit(kind, D535)


def test_a_unit_of_an_archive_has_a_key_once_the_archive_is_known(shop: Workshop) -> None:
    state = state_of(shop, unit(FM))
    assert state.blocked is None
    assert state.key is not None
    del shop.facts.archives[D535.version, "x86_64", FM]
    waiting = state_of(shop, unit(FM))
    assert (waiting.key, waiting.missing) == (None, "its archive was not fetched yet")


def test_a_member_that_no_rule_places_blocks_its_packages_and_no_others(shop: Workshop) -> None:
    archive = sample.archive(FM)
    new = ArchiveMember(path="share/new/thing", target="", executable=False)
    shop.facts.archives[D535.version, "x86_64", FM] = replace(archive, members=(*archive.members, new))
    state = state_of(shop, unit(FM))
    assert "no rule places share/new/thing" in (state.blocked or "")
    assert "builder/render/archives.py" in (state.hint or "")
    assert state_of(shop, unit(PackageKind.DRIVER)).blocked is None


def test_a_file_of_unknown_type_blocks_the_drivers_packages_and_is_named(shop: Workshop) -> None:
    known: Any = shop.facts.sources[D535.version, "x86_64"]
    assert isinstance(known, DriverSources)
    odd = sample.entry("libnvidia-new.so", "QUANTUM_LIB")
    shop.facts.sources[D535.version, "x86_64"] = replace(known, manifest=(*known.manifest, odd))
    for kind in (PackageKind.DRIVER, PackageKind.COMPAT32):
        assert exists(shop, unit(kind))
        assert "libnvidia-new.so is of type QUANTUM_LIB" in (state_of(shop, unit(kind)).blocked or "")
    assert state_of(shop, unit(PackageKind.CUDA_DRIVERS)).blocked is None


def test_32_bit_libraries_are_no_unit_where_the_archive_has_none(shop: Workshop) -> None:
    assert exists(shop, unit(PackageKind.COMPAT32))
    entries = tuple(e for e in sample.manifest(D535.version) if e.arch != "COMPAT32")
    shop.facts.sources[D535.version, "x86_64"] = sample.sources(D535, entries=entries)
    assert not exists(shop, unit(PackageKind.COMPAT32))
    assert exists(shop, unit(PackageKind.DRIVER))
