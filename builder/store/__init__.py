"""Content-addressed results and the ledger; one object that knows every path of the work folder."""

from builder.store.conftest_answers import answers_source, merge_answers, write_answers
from builder.store.files import os_failure, remove_tree, sync_tree
from builder.store.history import Attempt, Cost
from builder.store.ledger import Failure
from builder.store.store import Store

__all__ = [
    "Attempt",
    "Cost",
    "Failure",
    "Store",
    "answers_source",
    "merge_answers",
    "os_failure",
    "remove_tree",
    "sync_tree",
    "write_answers",
]
