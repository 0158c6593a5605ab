"""mock configurations from chroot descriptions (names: mock's site-defaults.cfg and its templates/*.tpl)."""

from __future__ import annotations

from builder.model.matrix import Chroot, Distribution
from builder.render.templates import fill_mock_config
from builder.render.values import require_chroot


def render_mock_config(chroot: Chroot, distribution: Distribution, *, template: str | None = None) -> str:
    """The configuration that makes mock build in this chroot.

    ``template`` is the text of a template of the user's own; without it ``chroot.template`` names one of mock-configs/.
    """
    return fill_mock_config(chroot.template, template, chroot=require_chroot(chroot), distribution=distribution)
