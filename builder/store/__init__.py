"""Content-addressed results and the ledger; one object that knows every path of the work folder."""

from builder.store.files import os_failure, remove_tree, sync_tree
from builder.store.ledger import Failure
from builder.store.store import Store

__all__ = ["Failure", "Store", "os_failure", "remove_tree", "sync_tree"]
