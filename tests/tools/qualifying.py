"""A light driver for one of the lab's kernels as an RPM, a root it is installed in, throw-away keys, planted lies."""

from __future__ import annotations

import importlib.util
import os
import shutil
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import pkcs7
from cryptography.x509.oid import NameOID

from builder.errors import ToolMissingError
from builder.model.cells import Cell, Outcome, Verdict
from builder.model.matrix import Chroot, Compiler, Flavor, Kernel, PackageRef
from builder.model.naming import kmod_folder, kmod_name
from builder.model.nevra import Evr
from builder.qualify.roots import InstalledRoot
from builder.tools.kmod import split_signature
from builder.tools.qemu import find_qemu, find_secure_firmware
from builder.tools.run import run
from builder.tools.runfile import extract_runfile
from tests.golden import sample
from tests.lab.distro import LabDistro
from tests.lab.kernels import LabKernel
from tests.lab.light import TREES, make_light
from tests.tools import building

SPEC = """Name: @name@
Epoch: 3
Version: @version@
Release: 1.open.lab9
Summary: Modules of a test
License: MIT
AutoReqProv: no
Requires: @core@
%description
Modules of a test.
%install
install -d %{buildroot}@folder@
install -m 0644 @modules@/*.ko %{buildroot}@folder@/
%posttrans
@scriptlet@
%files
@folder@
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A private key with its certificate."""

    private: rsa.RSAPrivateKey
    certificate: x509.Certificate

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    def sign(self, data: bytes) -> bytes:
        """A module with its signature appended, as linux/scripts/sign-file does."""
        options = [pkcs7.PKCS7Options.DetachedSignature, pkcs7.PKCS7Options.Binary]
        options += [pkcs7.PKCS7Options.NoAttributes, pkcs7.PKCS7Options.NoCerts]
        builder = pkcs7.PKCS7SignatureBuilder().set_data(data)
        builder = builder.add_signer(self.certificate, self.private, hashes.SHA256())
        signature = builder.sign(serialization.Encoding.DER, options)
        tail = struct.pack(">BBBBB3xI", 0, 0, 2, 0, 0, len(signature)) + b"~Module signature appended~\n"
        return data + signature + tail


def make_key(name: str) -> Key:
    private = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    start = datetime.now(UTC) - timedelta(days=1)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(private.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(start + timedelta(days=30))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(private.public_key()), critical=False)
        .sign(private, hashes.SHA256())
    )
    return Key(private=private, certificate=certificate)


def lab_cell(distro: LabDistro, kernel: LabKernel, version: str) -> Cell:
    """The cell of an open light driver on a kernel of the lab."""
    described = Kernel(
        release=kernel.release,
        arch=distro.arch,
        variant=kernel.variant,
        core=PackageRef(name=kernel.core.name, evr=Evr.parse(kernel.core.evr)),
        devel=PackageRef(name=kernel.devel.name, evr=Evr.parse(kernel.devel.evr)),
        devel_path=kernel.devel_path,
        compiler=Compiler(package=kernel.compiler_package, command=kernel.compiler_command),
        read_from="tests",
    )
    distribution = building.distribution(building.lab_chroot(distro))
    return Cell(
        driver=sample.driver(version), newest=True, flavor=Flavor.OPEN, kernel=described, distribution=distribution
    )


def unpack_devel(distro: LabDistro, kernel: LabKernel, folder: Path) -> Path:
    """A kernel's build tree."""
    rpm = next(distro.repository.glob(f"{kernel.devel.name}-{kernel.devel.evr}.*.rpm"))
    folder.mkdir(parents=True)
    run(["bsdtar", "-xf", rpm, "-C", folder], timeout=300)
    return folder / kernel.devel_path.lstrip("/")


def compile_light(
    version: str, devel: Path, compiler: str, folder: Path, *, edit: Callable[[Path], None] = lambda _tree: None
) -> dict[str, bytes]:
    """The five modules of an open light driver, unsigned; ``edit`` may change the sources."""
    (driver,) = make_light([version])
    folder.mkdir(parents=True)
    tree = extract_runfile(driver.run, folder) / TREES["open"]
    edit(tree)
    options = [f"SYSSRC={devel}", f"SYSOUT={devel}", f"CC={compiler}", "KCFLAGS=-g0"]
    run(["make", "-s", "-j2", *options, "modules"], timeout=300, cwd=tree)
    return {path.stem: path.read_bytes() for path in sorted(tree.glob("*.ko"))}


def make_kmod(cell: Cell, modules: Mapping[str, bytes], top: Path, *, scriptlet: str = "") -> Path:
    """An RPM of these modules; ``scriptlet`` is run after depmod."""
    folder = top / "modules"
    folder.mkdir(parents=True)
    for name, data in modules.items():
        (folder / f"{name}.ko").write_bytes(data)
    values = {
        "name": kmod_name(cell.kernel),
        "version": cell.driver.version,
        "core": str(cell.kernel.core),
        "release": cell.kernel.release,
        "folder": kmod_folder(cell.kernel),
        "modules": str(folder),
        "scriptlet": f"depmod -a {cell.kernel.release}\n{scriptlet}",
    }
    text = SPEC
    for name, value in values.items():
        text = text.replace(f"@{name}@", value)
    (top / "kmod.spec").write_text(text)
    defines = {"_topdir": top, "_rpmdir": top / "rpms", "_dbpath": "/var/lib/rpm-none", "debug_package": "%{nil}"}
    words = [word for name, value in defines.items() for word in ("-D", f"{name} {value}")]
    words += ["-D", "__os_install_post %{nil}", "-D", "_build_id_links none"]
    run(["rpmbuild", "-bb", "--nodeps", "--target", cell.arch, *words, top / "kmod.spec"], timeout=120)
    (rpm,) = (top / "rpms").rglob("*.rpm")
    return rpm


def installed_module(cell: Cell, root: Path, name: str) -> Path:
    return root / kmod_folder(cell.kernel).lstrip("/") / f"{name}.ko"


@contextmanager
def planted(cell: Cell, installed: InstalledRoot, lies: Mapping[str, bytes]) -> Iterator[InstalledRoot]:
    """The root with other bytes in place of some modules; put back afterwards."""
    files = [installed_module(cell, installed.path, name) for name in lies]
    before = {file.stem: file.read_bytes() for file in files}
    times = {file: file.stat().st_mtime_ns for file in files}
    _put(cell, installed, lies)
    try:
        yield installed
    finally:
        _put(cell, installed, before)
        for file, time in times.items():  # rpm -V looks at them, too
            os.utime(file, ns=(time, time))


def _put(cell: Cell, installed: InstalledRoot, modules: Mapping[str, bytes]) -> None:
    for name, data in modules.items():
        installed_module(cell, installed.path, name).write_bytes(data)
    run(["depmod", "-b", installed.path, cell.kernel.release], timeout=120)


def signed(modules: Mapping[str, bytes], key: Key) -> dict[str, bytes]:
    """The modules signed by a key, whatever signed them before."""
    return {name: key.sign(split_signature(data)[0]) for name, data in modules.items()}


def faults(verdict: Verdict) -> dict[str, tuple[str, ...]]:
    """Evidence of the failed checks."""
    return {c.name: c.evidence for c in verdict.checks if c.outcome is Outcome.FAILED}


def evidence(verdict: Verdict, name: str) -> tuple[str, ...]:
    """Evidence of one check."""
    (found,) = [c.evidence for c in verdict.checks if c.name == name]
    return found


def copy_root(installed: InstalledRoot, target: Path) -> InstalledRoot:
    """A root of one's own to damage."""
    shutil.copytree(installed.path, target, symlinks=True)
    return replace(installed, path=target)


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A cell's modules signed and installed beside its kernel; nobody leaves anything changed in it."""

    cell: Cell
    chroot: Chroot
    modules: Mapping[str, bytes]  # signed by ``key``
    lies: Mapping[str, bytes]  # of sources that lie (see ``_lie``), signed by ``key``
    foreign: Mapping[str, bytes]  # of another kernel, signed by ``key``
    key: Key
    rpm: Path
    installed: InstalledRoot
    cache: Path  # dnf's


def need_qemu(*, secure: bool = False) -> None:
    """Skip (or, under REPOBUILD_CI=1, fail) the calling test without QEMU, or what Secure Boot needs beside it."""
    missing = ["virt-firmware"] if secure and not importlib.util.find_spec("virt") else []
    for name, find in {"qemu": find_qemu, **({"ovmf": find_secure_firmware} if secure else {})}.items():
        try:
            find()
        except ToolMissingError:
            missing.append(name)
    if missing and os.environ.get("REPOBUILD_CI") == "1":
        pytest.fail(f"not installed: {', '.join(missing)}")
    if missing:
        pytest.skip(f"not installed: {', '.join(missing)}")
