"""mock configurations from chroot descriptions (names: mock's site-defaults.cfg and its templates/*.tpl)."""

from __future__ import annotations

from builder.model.matrix import Chroot, Distribution
from builder.render.templates import fill_mock_config
from builder.render.values import require_chroot


def render_mock_config(chroot: Chroot, distribution: Distribution) -> str:
    """The configuration that makes mock build in this chroot.

    Its template is ``chroot.template_text``, what config found by the name of ``chroot.template``; where that is empty,
    the program's own template of that name.
    """
    return fill_mock_config(
        chroot.template, chroot.template_text, chroot=require_chroot(chroot), distribution=distribution
    )
