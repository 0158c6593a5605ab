"""Tests with real programs: rpm, dnf, gpg, createrepo_c, makeself."""
