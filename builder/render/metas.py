"""Small packages: cuda-drivers and nvidia-open, without files, the modules' certificate, dnf's plugins, the release."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Flavor, Matrix
from builder.model.naming import OWN_PACKAGES, STREAM_VARIABLE, driver_ev, gate_capability, package_nevra
from builder.model.publication import ClientRepository
from builder.model.sources import SpecFile
from builder.render.manifest import LIBDIR
from builder.render.templates import fill_spec, spec_source
from builder.render.values import require_name, require_nevra, require_payload

_LINE = 76  # characters of base64
_PLUGIN_SOURCES = {
    PackageKind.DNF_PLUGIN: ("dnf-plugin-nvidia.py",),
    PackageKind.LIBDNF5_PLUGIN: ("libdnf5-plugin-nvidia.cpp", "libdnf5-plugin-nvidia-hold.cpp"),
}


def render_cuda_drivers(unit: Unit, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of cuda-drivers, which also provides ``cuda-drivers-<branch>``."""
    return _render("cuda-drivers.spec.j2", unit, matrix, serial)


def render_open_meta(unit: Unit, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-open."""
    return _render("nvidia-open.spec.j2", unit, matrix, serial)


def render_certificate(unit: Unit, matrix: Matrix, name: str, der: bytes, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-kmod-certificate for the certificate of whoever signs the modules."""
    text = base64.b64encode(der).decode()
    return _render(
        "nvidia-kmod-certificate.spec.j2",
        unit,
        matrix,
        serial,
        name=name,
        fingerprint=hashlib.sha256(der).hexdigest(),
        lines=tuple(text[at : at + _LINE] for at in range(0, len(text), _LINE)),
        folder="/usr/share/nvidia-kmod",
    )


def render_dnf_plugin(unit: Unit, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of dnf's plugin that holds kernels back which have no module: of dnf 4, or of dnf5, compiled."""
    spec = _render(f"{unit.kind.value}.spec.j2", unit, matrix, serial, folder=f"{LIBDIR}/libdnf5/plugins")
    return replace(spec, sources=tuple(spec_source(name) for name in _PLUGIN_SOURCES[unit.kind]))


def render_release(unit: Unit, matrix: Matrix, repository: ClientRepository, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-driver-release: the repository's .repo file, the stream it selects, and what switches.

    Raises RenderError for a unit without stream.
    """
    if unit.stream is None:
        raise RenderError(f"{unit.id}: a release package needs a stream")
    spec = _render(
        "nvidia-driver-release.spec.j2",
        unit,
        matrix,
        serial,
        stream=require_name(unit.stream, "stream"),
        variable=STREAM_VARIABLE,
        repository=require_name(repository.id, "repository"),
        lines=tuple(repository.text.splitlines()),
        names=OWN_PACKAGES,
    )
    return replace(spec, sources=(spec_source("nvidia-driver-stream"),))


def _render(template: str, unit: Unit, matrix: Matrix, serial: int, **more: object) -> SpecFile:
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    text = fill_spec(
        template,
        nevra=nevra,
        version=unit.driver.version,
        ev=driver_ev(unit.driver, matrix),
        branch=require_name(unit.driver.branch, "branch"),
        capability=gate_capability(Flavor.OPEN),
        vendor=matrix.vendor,
        payload=require_payload(unit.distribution.payload),
        **more,
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=())
