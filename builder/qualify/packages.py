"""Qualify the packages around a driver: names as planned, files only where they belong, nothing twice."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence

from builder.model.cells import Artifact, Check, PackageKind, Unit, Verdict
from builder.model.matrix import Matrix
from builder.model.naming import driver_ev, name_for, package_nevras, plain_names
from builder.qualify.checks import LEVEL, check
from builder.tools.oldrpm import old_rpm_faults
from builder.tools.rpms import RpmHeader, read_header

_LIBDIR = "/usr/lib64/"
_LIBDIR32 = ("/usr/lib/lib", "/usr/lib/vdpau/", "/usr/lib/gbm/", "/usr/lib/tls/")  # /usr/lib is not for libraries alone
_LIBRARIES = (_LIBDIR, "/usr/share/nvidia")
_MAN = "/usr/share/man/man1/"
# What each package may hold, beside its licence: prefixes of absolute paths.
_PREFIXES: dict[str, tuple[str, ...]] = {
    "kmod-nvidia-stream": ("/usr/lib/nvidia-kmod/",),
    "nvidia-kmod-common": (
        "/usr/lib/modprobe.d/nvidia",
        "/usr/lib/udev/rules.d/",
        "/usr/lib/dracut/dracut.conf.d/",
        "/usr/share/doc/nvidia-kmod-common",
    ),
    "nvidia-kmod-objects": (
        "/usr/lib/nvidia-kmod/objects/{version}-",
        "/usr/sbin/nvidia-kmod-join",
        "/usr/libexec/nvidia-kmod-unpatch",
    ),
    "nvidia-kmod-certificate": ("/usr/share/nvidia-kmod", "/usr/share/doc/nvidia-kmod-certificate"),
    "nvidia-driver": (
        "/usr/bin/nvidia-",
        "/usr/lib64/xorg/modules/",
        "/usr/share/X11/xorg.conf.d/",
        "/usr/share/nvidia",
        "/usr/share/dbus-1/",
        "/usr/share/pixmaps/",
        "/usr/lib/nvidia",
        "/usr/lib/systemd/",
        "/etc/nvidia",
        _MAN,
    ),
    "nvidia-driver-libs": (
        *_LIBRARIES,
        "/usr/bin/nvidia-",
        "/usr/share/glvnd/",
        "/usr/share/vulkan/",
        "/usr/share/vulkansc/",
        "/usr/share/egl/",
    ),
    "nvidia-driver-cuda": ("/usr/bin/nvidia-", "/etc/OpenCL/vendors/", "/usr/share/nvidia/supported-gpus.json", _MAN),
    "nvidia-driver-cuda-libs": _LIBRARIES,
    "nvidia-firmware": ("/usr/lib/firmware/nvidia/{version}",),
    "nvidia-modprobe": ("/usr/bin/nvidia-modprobe", _MAN),
    "dkms-nvidia": ("/usr/src/nvidia-{version}", "/usr/libexec/dkms-nvidia", "/var/log/dkms-nvidia"),
    "nvidia-fabricmanager": (
        "/usr/bin/nv",
        "/usr/lib/systemd/system/nvidia-fabricmanager",
        "/usr/share/nvidia/nvswitch",
    ),
    "nvidia-fabricmanager-devel": ("/usr/lib64/libnvfm.so", "/usr/include/nv_fm_"),
    "libnvidia-nscq": ("/usr/lib64/libnvidia-nscq.so", "/usr/bin/nscq-cli"),
    "nvidia-imex": ("/usr/bin/nvidia-imex", "/etc/nvidia-imex", "/usr/lib/systemd/system/nvidia-imex"),
    "nvidia-open-kernel-source": ("/usr/src/nvidia-open-{version}",),
    "cuda-drivers": (),
    "nvidia-open": (),
    "dnf-plugin-nvidia": ("/usr/lib/python3",),
    "libdnf5-plugin-nvidia": ("/usr/lib64/libdnf5/plugins/nvidia", "/etc/dnf/libdnf5-plugins/nvidia.conf"),
    "nvidia-driver-release": (
        "/etc/yum.repos.d/",
        "/etc/dnf/vars/nvidiastream",
        "/usr/sbin/nvidia-driver-stream",
        "/usr/share/nvidia-driver-release",
        "/usr/share/doc/nvidia-driver-release",
        "/etc/pki/rpm-gpg/RPM-GPG-KEY-",
    ),
}


def qualify_packages(unit: Unit, artifacts: Sequence[Artifact], matrix: Matrix, *, serial: int = 1) -> Verdict:
    """The static verdict on the packages of any unit but a kmod."""
    planned = package_nevras(unit, matrix, serial=serial)
    nevras = [a.nevra for a in artifacts]
    faults = [f"unexpected package {n}" for n in nevras if n not in planned]
    faults += [f"{n} is there {nevras.count(n)} times" for n in dict.fromkeys(nevras) if nevras.count(n) > 1]
    if unit.kind is not PackageKind.COMPAT32 and planned[0] not in nevras:
        faults.append(f"{planned[0]} is missing")
    headers = {a.nevra.name: read_header(a.path) for a in artifacts}
    checks = (
        check("nevra", faults, passed=[str(n) for n in nevras]),
        _check_files(unit, headers),
        _check_twice(headers),
        check("dependencies", list(_dependency_faults(unit, headers, matrix)), passed=["as designed"]),
        *([_check_old_rpm(artifacts)] if unit.distribution.plain else []),
    )
    return Verdict(unit_id=unit.id, level=LEVEL, checks=checks)


def _check_old_rpm(artifacts: Sequence[Artifact]) -> Check:
    faults = [f"{path.name}: {fault}" for path, fault in old_rpm_faults([a.path for a in artifacts])]
    return check("rpm 4.11", faults, passed=[f"{len(artifacts)} packages hold nothing that it does not know"])


def _check_files(unit: Unit, headers: Mapping[str, RpmHeader]) -> Check:
    faults = []
    for name, header in headers.items():
        base = plain_names(unit).get(name, name)
        prefixes = tuple(p.format(version=unit.driver.version) for p in _release_files(unit, base))
        if unit.kind is PackageKind.COMPAT32:
            prefixes = tuple(p for p in prefixes if p != _LIBDIR) + _LIBDIR32
        faults += [
            f"{name}: {path} does not belong here"
            for path in header.files
            if not _belongs(path, (*prefixes, f"/usr/share/licenses/{name}"))
        ]
    count = sum(len(header.files) for header in headers.values())
    return check("files", faults, passed=[f"{count} files and folders where they belong"])


def _release_files(unit: Unit, base: str) -> tuple[str, ...]:
    if unit.kind is PackageKind.RELEASE and unit.label is not None:
        return ("/usr/sbin/nvidia-driver-stream", "/usr/share/nvidia-driver-release")  # it selects no repository
    return _PREFIXES.get(base, ())


def _belongs(path: str, prefixes: Sequence[str]) -> bool:
    """Below a prefix, or a folder above one."""
    return any(path.startswith(prefix) or prefix.startswith(f"{path}/") for prefix in prefixes)


def _check_twice(headers: Mapping[str, RpmHeader]) -> Check:
    owners: dict[str, list[str]] = defaultdict(list)
    for name, header in headers.items():
        for path in header.files:
            owners[path].append(name)
    # A path with others below it is a folder, and folders may be owned together.
    folders = {path.rsplit("/", 1)[0] for path in owners}
    faults = [
        f"{path} is in {' and '.join(names)}"
        for path, names in sorted(owners.items())
        if len(names) > 1 and path not in folders
    ]
    return check("twice", faults, passed=[f"{len(headers)} packages share no file"])


def _dependency_faults(unit: Unit, headers: Mapping[str, RpmHeader], matrix: Matrix) -> Iterable[str]:
    ev = driver_ev(unit.driver, matrix)
    headers = {plain_names(unit).get(name, name): header for name, header in headers.items()}
    gated = f"{name_for(unit, PackageKind.GATE.value)} = {ev}"
    libraries = headers.get("nvidia-driver-cuda-libs")
    if libraries is not None:
        for requirement in libraries.requires:
            # Containers install it on hosts whose modules are not packages of theirs; "if there are" harms none.
            if "kmod" in requirement and not requirement.endswith(" if nvidia-kmod-common)"):
                yield f"nvidia-driver-cuda-libs requires {requirement}"
    driver = headers.get("nvidia-driver")
    if unit.kind is PackageKind.DRIVER and driver is not None and gated not in driver.requires:
        yield f"nvidia-driver lacks {gated}"
    for name in ("nvidia-fabricmanager", "nvidia-imex"):
        if name in headers and gated not in headers[name].requires:
            yield f"{name} lacks {gated}"
    if unit.label is not None and unit.kind is not PackageKind.RELEASE:
        together = f"{name_for(unit, PackageKind.RELEASE.value)} = {ev}"
        yield from (f"{name} lacks {together}" for name, header in headers.items() if together not in header.requires)
    if unit.of_repository:  # dnf would hide it from hosts with a stream that has a package of a name that it provides
        provided = [p for header in headers.values() for p in header.provides if "nvidia-driver-release" not in p]
        yield from (f"nvidia-driver-release provides {text}" for text in provided)
        # Nothing else of the repository can come in the transaction that brings it.
        needed = [r for header in headers.values() for r in header.requires if not r.startswith("config(")]
        yield from (f"nvidia-driver-release requires {text}" for text in needed)
    gate = headers.get("nvidia-kmod-common")
    if unit.kind is PackageKind.GATE and gate is not None and f"nvidia-kmod = {ev}" not in gate.provides:
        yield f"nvidia-kmod-common lacks Provides: nvidia-kmod = {ev}"
