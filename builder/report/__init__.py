"""What people see of a plan and of a publication: console tables, support matrix as JSON and as a page."""

from builder.report.console import print_actions, print_support_matrix
from builder.report.difference import Difference, Published, difference
from builder.report.feed import EVENTS_FILE, FEED_FILE, atom_feed, event_lines, events_json, publication_event
from builder.report.gpus import FILE as GPUS_FILE
from builder.report.gpus import gpus_file, gpus_sentences, lost_gpus, stream_gpus
from builder.report.lifetimes import SUPPORT_FILE, leaving_soon, left_early
from builder.report.page import support_files, support_page
from builder.report.provenance import provenance, provenance_schema
from builder.report.retention import print_retention
from builder.report.run_metrics import RunNumbers, write_metrics
from builder.report.run_summary import count_lines, markdown
from builder.report.site import DATA as SITE_DATA
from builder.report.site import PAGE as SITE_PAGE
from builder.report.site import TIMES as SITE_TIMES
from builder.report.site import (
    CellTimes,
    CurrentPublication,
    read_times,
    site_document,
    update_times,
    write_times,
)
from builder.report.support_matrix import support_json, support_matrix

__all__ = [
    "EVENTS_FILE",
    "FEED_FILE",
    "GPUS_FILE",
    "SITE_DATA",
    "SITE_PAGE",
    "SITE_TIMES",
    "SUPPORT_FILE",
    "CellTimes",
    "CurrentPublication",
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
    "provenance",
    "provenance_schema",
    "publication_event",
    "read_times",
    "site_document",
    "stream_gpus",
    "support_files",
    "support_json",
    "support_matrix",
    "support_page",
    "update_times",
    "write_metrics",
    "write_times",
]
