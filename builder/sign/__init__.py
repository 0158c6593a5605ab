"""Sign RPMs and repository metadata, and prove each signature with the public key only."""

from builder.sign.keys import new_key
from builder.sign.signer import Signer

__all__ = ["Signer", "new_key"]
