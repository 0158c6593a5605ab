"""Small packages: cuda-drivers and nvidia-open, without files, the modules' certificate, dnf's plugins, the release."""

from __future__ import annotations

import base64
import hashlib
from dataclasses import replace

from builder.errors import RenderError
from builder.model.cells import PackageKind, Unit
from builder.model.matrix import Flavor, Matrix
from builder.model.naming import (
    OWN_PACKAGES,
    STREAM_VARIABLE,
    driver_ev,
    gate_capability,
    package_nevra,
    stream_mark,
    stream_provides,
    stream_requires,
)
from builder.model.publication import ClientRepository, HostRepository, armored_keys
from builder.model.sources import SpecFile
from builder.render.manifest import LIBDIR
from builder.render.templates import fill_spec, spec_source
from builder.render.values import require_name, require_nevra, require_word, unit_payload

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
    return _render(
        "nvidia-kmod-certificate.spec.j2",
        unit,
        matrix,
        serial,
        **_certificate(name, der),
        folder="/usr/share/nvidia-kmod",
        doc="/usr/share/doc/nvidia-kmod-certificate",
    )


def _certificate(name: str, der: bytes) -> dict[str, object]:
    text = base64.b64encode(der).decode()
    lines = tuple(text[at : at + _LINE] for at in range(0, len(text), _LINE))
    return {"name": name, "fingerprint": hashlib.sha256(der).hexdigest(), "lines": lines}


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


def render_repository_release(unit: Unit, matrix: Matrix, host: HostRepository, *, serial: int = 1) -> SpecFile:
    """The spec of nvidia-driver-release where streams are module streams: .repo file, keys, the modules' certificate.

    It follows from these alone, whatever driver the unit names. Raises RenderError for a unit with a stream, and for
    keys that are not armored.
    """
    if not unit.of_repository:
        raise RenderError(f"{unit.id}: is of one stream, not of the whole repository")
    keys = [armored_keys(key) for key in host.keys]
    if not keys or not all(keys):
        raise RenderError(f"{unit.id}: a public key is not armored", hint="gpg --armor --export")
    return _render(
        "nvidia-repository-release.spec.j2",
        unit,
        matrix,
        serial,
        repository=tuple(host.repository.text.splitlines()),
        file=require_name(host.file, "file"),
        key_file=require_word(host.key_file, "key file"),
        keys=tuple(line for key in keys for block in key for line in block.splitlines()),
        **(_certificate(*host.certificate) if host.certificate else {"lines": ()}),
        folder="/usr/share/nvidia-driver-release",
        doc="/usr/share/doc/nvidia-driver-release",
    )


def render_stream_release(unit: Unit, matrix: Matrix, *, serial: int = 1) -> SpecFile:
    """The spec of the package that says which stream a host has, where the stream stands in package names.

    All of the stream's packages require it, and of two streams' only one can be installed. Raises RenderError for a
    unit without label.
    """
    if unit.label is None:
        raise RenderError(f"{unit.id}: this release package needs a stream's label")
    spec = _render(
        "nvidia-driver-stream-release.spec.j2",
        unit,
        matrix,
        serial,
        label=require_name(unit.label, "stream"),
        mark=stream_mark(unit.label),
    )
    return replace(spec, sources=(spec_source("nvidia-driver-stream-packages"),))


def _render(template: str, unit: Unit, matrix: Matrix, serial: int, **more: object) -> SpecFile:
    nevra = require_nevra(package_nevra(unit, matrix, serial=serial))
    text = fill_spec(
        template,
        nevra=nevra,
        version=unit.driver.version,
        ev=driver_ev(unit.driver, matrix),
        branch=require_name(unit.driver.branch, "branch"),
        capability=gate_capability(Flavor.OPEN),
        module=matrix.module,
        vendor=matrix.vendor,
        payload=unit_payload(unit),
        stream_provides=stream_provides(unit, unit.kind.value, nevra.evr),
        stream_requires=stream_requires(unit, matrix),
        **more,
    )
    return SpecFile(filename=f"{nevra.name}.spec", text=text, sources=())
