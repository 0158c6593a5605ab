"""Content-addressed results and the ledger; one object that knows every path of the work folder."""

from builder.store.bucket import Bucket
from builder.store.conftest_answers import answers_source, merge_answers, write_answers
from builder.store.contents import describe_stored, list_contents
from builder.store.derived import Derived
from builder.store.files import os_failure, remove_tree, sync_tree
from builder.store.history import Attempt, Cost
from builder.store.inputs import read_inputs, write_inputs
from builder.store.ledger import Failure
from builder.store.places import Place, PlaceError, open_place
from builder.store.results import read_result
from builder.store.root_lock import LOCK_FILE, read_installed, read_root_lock, write_root_lock
from builder.store.shared import SharedStore
from builder.store.store import Store

__all__ = [
    "LOCK_FILE",
    "Attempt",
    "Bucket",
    "Cost",
    "Derived",
    "Failure",
    "Place",
    "PlaceError",
    "SharedStore",
    "Store",
    "answers_source",
    "describe_stored",
    "list_contents",
    "merge_answers",
    "open_place",
    "os_failure",
    "read_inputs",
    "read_installed",
    "read_result",
    "read_root_lock",
    "remove_tree",
    "sync_tree",
    "write_answers",
    "write_inputs",
    "write_root_lock",
]
