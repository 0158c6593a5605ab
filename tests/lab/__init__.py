"""The lab: a small EL-like distribution with real kernels and real drivers, made from the host's package archive."""
