"""Check what was built against what was planned: looked at, installed, booted, booted under Secure Boot."""

from builder.qualify.boot import qualify_boot, timed_out
from builder.qualify.elf import section_differences
from builder.qualify.install import not_installed, qualify_install
from builder.qualify.kmods import qualify_kmod
from builder.qualify.packages import qualify_packages
from builder.qualify.roots import InstalledRoot, make_install_root
from builder.qualify.secureboot import qualify_secureboot, unsigned_verdict

__all__ = [
    "InstalledRoot",
    "make_install_root",
    "not_installed",
    "qualify_boot",
    "qualify_install",
    "qualify_kmod",
    "qualify_packages",
    "qualify_secureboot",
    "section_differences",
    "timed_out",
    "unsigned_verdict",
]
