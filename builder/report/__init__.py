"""What people see of a plan and of a publication: console tables, support matrix as JSON and as a page."""

from builder.report.console import print_actions, print_support_matrix
from builder.report.difference import Difference, Published, difference
from builder.report.feed import EVENTS_FILE, FEED_FILE, atom_feed, event_lines, events_json, publication_event
from builder.report.gpus import FILE as GPUS_FILE
from builder.report.gpus import gpus_file, gpus_sentences, lost_gpus, stream_gpus
from builder.report.lifetimes import SUPPORT_FILE, leaving_soon, left_early
from builder.report.page import support_files, support_page
from builder.report.retention import print_retention
from builder.report.run_metrics import RunNumbers, write_metrics
from builder.report.run_summary import count_lines, markdown
from builder.report.support_matrix import support_json, support_matrix

__all__ = [
    "EVENTS_FILE",
    "FEED_FILE",
    "GPUS_FILE",
    "SUPPORT_FILE",
    "Difference",
    "Published",
    "RunNumbers",
    "atom_feed",
    "count_lines",
    "difference",
    "event_lines",
    "events_json",
    "gpus_file",
    "gpus_sentences",
    "leaving_soon",
    "left_early",
    "lost_gpus",
    "markdown",
    "print_actions",
    "print_retention",
    "print_support_matrix",
    "publication_event",
    "stream_gpus",
    "support_files",
    "support_json",
    "support_matrix",
    "support_page",
    "write_metrics",
]
