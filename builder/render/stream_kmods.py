"""One package with the modules of every kernel, where the stream stands in package names (ADR 0020)."""

from __future__ import annotations

from collections.abc import Sequence

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.gate import GateKernel
from builder.model.matrix import Matrix
from builder.model.naming import (
    JOIN_CAPABILITY,
    PARTS,
    STREAM_MODULES,
    driver_ev,
    kmod_parts,
    name_for,
    object_capability,
    package_nevra,
    served_capability,
    stream_provides,
    stream_requires,
)
from builder.model.sources import DriverSources, SourceFile, SpecFile
from builder.render.gates import plain_conflicts
from builder.render.kmods import LICENSES
from builder.render.templates import fill_spec
from builder.render.values import require_name, require_nevra, require_word, unit_payload


def render_stream_kmods(
    unit: Unit, kernels: Sequence[GateKernel], sources: DriverSources, matrix: Matrix, *, serial: int, signed: bool
) -> SpecFile:
    """The spec that puts the parts of all kernels' modules into the package of a stream; its sources are their kmods.

    ``kernels`` are all kernels of the unit's distribution × arch, with the qualified kmod package that each has.
    ``signed``: the modules are. Raises RenderError for a unit without flavor or label, and where no kernel has a
    module.
    """
    flavor = unit.flavor
    if flavor is None or unit.label is None:
        raise RenderError(f"{unit.id}: the modules of a stream need its flavor and label")
    known = sorted(kernels, key=lambda k: (k.kernel.core.name, k.kernel.core.evr))
    for kernel in known:
        require_name(kernel.kernel.core.name, f"kernel {kernel.kernel.release}: package")
        require_word(str(kernel.kernel.core.evr), f"kernel {kernel.kernel.release}: EVR")
        require_word(kernel.kernel.release, "kernel release")
    served = [k for k in known if k.kmod is not None]
    if not served:
        raise RenderError(f"{unit.id}: no kernel has a module, so there is nothing to carry")
    rpms = [k.rpm for k in served if k.rpm is not None]
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    objects = (o for o in sources.kernel_objects(flavor) if o.module in unit.driver.modules)
    ev = driver_ev(unit.driver, matrix)
    certificate = (f"{name_for(unit, PackageKind.CERTIFICATE.value)} = {ev}",) if signed else ()
    text = fill_spec(
        "kmod-nvidia-stream.spec.j2",
        nevra=nevra,
        version=unit.driver.version,
        flavor=flavor.value,
        license=LICENSES[flavor],
        vendor=matrix.vendor,
        payload=unit_payload(unit),
        stream_provides=stream_provides(unit, STREAM_MODULES, nevra.evr),
        stream_requires=(*stream_requires(unit, matrix), *certificate),
        objects=f"{name_for(unit, PackageKind.OBJECTS.value)} = {ev}",
        needs=(JOIN_CAPABILITY, *(object_capability(o.sha256) for o in objects)),
        provides=tuple(served_capability(k.kernel.core) for k in served),
        conflicts=tuple(plain_conflicts(known, unit.distribution.other_kernels)),
        kernels=tuple(dict.fromkeys(k.kernel.core.name for k in known)),
        rpms=tuple(require_word(rpm.path.name, "kmod package") for rpm in rpms),
        top=PARTS,
        parts=tuple(kmod_parts(k.kernel) for k in served),
    )
    files = tuple(SourceFile(filename=r.path.name, path=r.path, sha256=r.sha256, size=r.size) for r in rpms)
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=files)
