"""Spec files and mock configurations from model values; pure but for reading the program's own templates."""

from builder.render.drivers import render_driver
from builder.render.gates import render_gate
from builder.render.kmods import render_dkms, render_kmod
from builder.render.metas import render_cuda_drivers, render_open_meta
from builder.render.mock import render_mock_config

__all__ = [
    "render_cuda_drivers",
    "render_dkms",
    "render_driver",
    "render_gate",
    "render_kmod",
    "render_mock_config",
    "render_open_meta",
]
