"""The gate: which kernels a driver × flavor may meet (rules: docs/adr/0006-package-design.md)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import pairwise

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Delivery, Dnf, Flavor, Kmods, Matrix, PackageRef
from builder.model.naming import (
    DNF_PLUGINS,
    beyond_ours,
    dkms_capability,
    driver_ev,
    gate_capability,
    gate_nevra,
    kmod_name,
)
from builder.model.sources import SpecFile
from builder.render.templates import fill_spec
from builder.render.values import require_name, require_nevra, require_payload, require_word

# What a host has that loads a plugin; elsewhere the plugin does nothing.
_OF_USE = {Dnf.DNF4: "python3-dnf", Dnf.DNF5: "libdnf5"}


def render_gate(
    unit: Unit, kernels: Sequence[GateKernel], serial: int, matrix: Matrix, *, signed: bool = False
) -> SpecFile:
    """The spec of nvidia-kmod-common for one driver × flavor × way of delivery.

    ``signed``: the modules are, and the certificate's package is recommended. ``kernels`` are all kernels of the unit's
    distribution × arch, with the kmod each has. Raises RenderError for a distribution without boolean dependencies, and
    for a precompiled gate without any kmod.
    """
    flavor, kmods = _checked(unit)
    known = sorted(kernels, key=lambda k: (k.kernel.core.name, k.kernel.core.evr))
    for kernel in known:
        _check(kernel)
    dkms = kmods is Kmods.DKMS
    if not dkms and not any(k.kmod for k in known):
        raise RenderError(f"{unit.id}: no kernel has a module, so there is nothing to let in")
    nevra = require_nevra(gate_nevra(unit, serial, matrix))
    ev = driver_ev(unit.driver, matrix)
    requires, recommends = _firmware(flavor, ev)
    beside = [f"{PackageKind.CERTIFICATE.value} = {ev}"] if signed else []
    beside += [f"({DNF_PLUGINS[dnf].value} = {ev} if {_OF_USE[dnf]})" for dnf in unit.distribution.dnf]
    text = fill_spec(
        "nvidia-kmod-common.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        ev=ev,
        flavor=flavor.value,
        kmods=kmods.value,
        dkms=dkms,
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        capability=gate_capability(flavor),
        beyond=beyond_ours(matrix),
        obsoletes=_obsoletes(known, flavor, kmods, unit.distribution.dnf),
        requires=(*(_dkms(flavor, ev) if dkms else _selections(known)), *requires),
        recommends=(*recommends, *([] if dkms else beside)),
        conflicts=() if dkms else tuple(kernel_conflicts(known, unit.distribution.other_kernels)),
        kept_out=tuple(n for n in unit.distribution.other_kernels if n not in {k.kernel.core.name for k in known}),
        supported=tuple(f"{k.kernel.core}" for k in known if k.kmod),
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=())


def kernel_conflicts(known: Sequence[GateKernel], others: Sequence[str] = ()) -> Iterator[str]:
    """What keeps kernels without a module out: below the first, in every gap, above the last, for each package name.

    ``known`` is sorted by core package name and EVR. A name none of whose kernels has a module is kept out whole, as
    are those of ``others``.
    """
    for name in dict.fromkeys((*(k.kernel.core.name for k in known), *others)):
        supported = [k.kernel.core for k in known if k.kernel.core.name == name and k.kmod]
        if not supported:
            yield name
            continue
        yield f"{name} < {supported[0].evr}"
        for lower, upper in pairwise(supported):
            yield _between(lower, upper)
        yield f"{name} > {supported[-1].evr}"


def _between(lower: PackageRef, upper: PackageRef) -> str:
    # "with": one and the same package must lie in the gap; "and" would also meet two kernels around it.
    return f"({lower.name} > {lower.evr} with {upper.name} < {upper.evr})"


def _selections(known: Sequence[GateKernel]) -> tuple[str, ...]:
    return tuple(f"({k.kmod.name} = {k.kmod.evr} if {k.kernel.core})" for k in known if k.kmod)


def _dkms(flavor: Flavor, ev: str) -> tuple[str, ...]:
    return (f"dkms-nvidia = {ev}", f"{dkms_capability(flavor)} = {ev}")


def _obsoletes(known: Sequence[GateKernel], flavor: Flavor, kmods: Kmods, dnf: Sequence[Dnf]) -> tuple[str, ...]:
    """What came before in another stream and would stand in the way of a switch to this one."""
    names = ["dkms-nvidia"]
    if kmods is Kmods.DKMS:
        beside = (PackageKind.OBJECTS, PackageKind.CERTIFICATE, *(DNF_PLUGINS[one] for one in dnf))
        names = [*(kmod_name(k.kernel) for k in known), *(kind.value for kind in beside)]
    if flavor is Flavor.PROPRIETARY:
        names += [PackageKind.OPEN_META.value, PackageKind.OPEN_SOURCE.value]
    return tuple(dict.fromkeys(names))


def _firmware(flavor: Flavor, ev: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Open modules do not start without GSP firmware; proprietary ones use it on some GPUs."""
    need = (f"nvidia-firmware = {ev}",)
    return (need, ()) if flavor is Flavor.OPEN else ((), need)


def _checked(unit: Unit) -> tuple[Flavor, Kmods]:
    if unit.flavor is None or unit.kmods is None:
        raise RenderError(f"{unit.id}: a gate needs a flavor and a way of delivery")
    if unit.distribution.delivery is Delivery.BRANCH_PACKAGES:
        raise RenderError(
            f"{unit.id}: the gate needs rpm's boolean dependencies;"
            f" delivery '{unit.distribution.delivery}' is not supported yet"
        )
    return unit.flavor, unit.kmods


def _check(kernel: GateKernel) -> None:
    core = kernel.kernel.core
    require_name(core.name, f"kernel {kernel.kernel.release}: package")
    require_word(str(core.evr), f"kernel {kernel.kernel.release}: EVR")
    require_name(kmod_name(kernel.kernel), "package name")
    if kernel.kmod is not None:
        require_nevra(kernel.kmod)
