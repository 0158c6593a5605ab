"""Spec files and mock configurations from model values; pure but for reading the program's own templates."""

from builder.render.archives import render_archive
from builder.render.drivers import render_compat32, render_driver
from builder.render.gates import render_gate
from builder.render.kmods import (
    MODULES_FOLDER,
    modules_requirements,
    objects_of,
    render_dkms,
    render_kmod,
    render_modules,
    render_objects,
)
from builder.render.manifest import has_compat32
from builder.render.metas import (
    render_certificate,
    render_cuda_drivers,
    render_dnf_plugin,
    render_open_meta,
    render_release,
    render_repository_release,
    render_stream_release,
)
from builder.render.mock import render_mock_config
from builder.render.open_tree import OPEN_TREE_FOLDER, render_open_source, render_open_tree
from builder.render.stream_kmods import render_stream_kmods
from builder.render.templates import template_folder

__all__ = [
    "MODULES_FOLDER",
    "OPEN_TREE_FOLDER",
    "has_compat32",
    "modules_requirements",
    "objects_of",
    "render_archive",
    "render_certificate",
    "render_compat32",
    "render_cuda_drivers",
    "render_dkms",
    "render_dnf_plugin",
    "render_driver",
    "render_gate",
    "render_kmod",
    "render_mock_config",
    "render_modules",
    "render_objects",
    "render_open_meta",
    "render_open_source",
    "render_open_tree",
    "render_release",
    "render_repository_release",
    "render_stream_kmods",
    "render_stream_release",
    "template_folder",
]
