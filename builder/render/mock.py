"""mock configurations from chroot descriptions (names: mock's site-defaults.cfg and its templates/*.tpl)."""

from __future__ import annotations

from pathlib import Path

from builder.model.matrix import Chroot, Distribution
from builder.render.templates import fill_mock_config
from builder.render.values import require_chroot


def render_mock_config(chroot: Chroot, distribution: Distribution, folder: Path | None = None) -> str:
    """The configuration that makes mock build in this chroot.

    ``chroot.template`` names a template of ``folder`` (the user's own), else of the program's mock-configs/.
    """
    return fill_mock_config(chroot.template, folder, chroot=require_chroot(chroot), distribution=distribution)
