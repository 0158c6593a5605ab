"""Sign kernel modules, RPMs and repository metadata, and prove each signature with the public half only."""

from builder.sign.keys import new_key
from builder.sign.modules import ModuleCertificate, ModuleSigner, new_module_key
from builder.sign.signer import Signer

__all__ = ["ModuleCertificate", "ModuleSigner", "Signer", "new_key", "new_module_key"]
