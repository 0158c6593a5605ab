"""Sign kernel modules, RPMs and repository metadata, and prove each signature with the public half only.

What signs modules stands in ``builder.sign.modules``: its library takes a tenth of a second to import, which only those
should wait for whose modules are signed.
"""

from builder.sign.keys import new_key
from builder.sign.signer import Signer

__all__ = ["Signer", "new_key"]
