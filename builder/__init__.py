"""repobuild: a kernel × driver matrix in, one signed dnf module repository out."""

__version__ = "0.1.0"
