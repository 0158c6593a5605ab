"""What needs no sources because it only says what the others are: gates, and the packages that bring a repository.

The release package of a repository with module streams (ADR 0035) says where that is (``--base-url``), which keys may
sign, and who signs the modules: it is of no driver, and follows from these alone.
"""

from __future__ import annotations

from collections.abc import Sequence

from builder.model.cells import PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Distribution
from builder.model.planning import UnitOutcome
from builder.model.publication import HostRepository
from builder.model.sources import SpecFile
from builder.pipeline.integrity import key_names
from builder.pipeline.workshop import Workshop
from builder.plan.units import repository_unit
from builder.publish import client_repository, host_repository
from builder.render import render_gate, render_release, render_repository_release, render_stream_release
from builder.tools.gpg import made_on


def render_late(shop: Workshop, unit: Unit, serial: int, kernels: tuple[GateKernel, ...] = ()) -> SpecFile:
    """Render a gate with its kernels, or a release."""
    matrix = shop.configuration.matrix
    if unit.kind is PackageKind.GATE:
        return render_gate(unit, kernels, serial, matrix, signed=shop.signing.certificate is not None)
    distribution = unit.distribution
    if unit.label is not None:
        return render_stream_release(unit, matrix, serial=serial)
    if unit.of_repository:
        return render_repository_release(unit, matrix, _host_repository(shop, distribution), serial=serial)
    repository = client_repository(
        matrix.module,
        distribution.name,
        distribution.delivery,
        shop.settings.published_at,
        key_names=key_names(matrix.integrity),
    )
    return render_release(unit, matrix, repository, serial=serial)


def _host_repository(shop: Workshop, distribution: Distribution) -> HostRepository:
    certificate = shop.signing.certificate
    return host_repository(
        shop.configuration.matrix.module,
        distribution.name,
        shop.settings.published_at,
        shop.facts.keys,
        None if certificate is None else (certificate.name, certificate.der),
    )


def repository_releases(shop: Workshop, distribution: Distribution, known: Sequence[UnitOutcome]) -> tuple[Unit, ...]:
    """The release package of a distribution with module streams, one at most; ``known`` are of one architecture.

    None where a package could not say where the repository is, as nobody gave its address: the folder of the one who
    publishes is no address for hosts. None either where no key is known yet.
    """
    if distribution.delivery is not Delivery.MODULAR or shop.settings.base_url is None or not shop.facts.keys:
        return ()
    drivers = [o.unit for o in known if o.unit.kind is PackageKind.DRIVER]
    return tuple(repository_unit(unit) for unit in drivers[-1:])


def date_of(shop: Workshop) -> int:
    """The date of that package, in seconds: when the newest key that it brings was made. No driver changes it."""
    return max(made_on(key) for key in shop.facts.keys)
