"""``python -m tests.lab [--series 6.12]``: make the lab distribution; its description as JSON on stdout."""

from __future__ import annotations

import argparse
import json
import sys

from tests.lab.distro import describe, make_distro

parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
parser.add_argument("--series", action="append", default=[], help="also the newest kernel of this series")
json.dump(describe(make_distro(series=parser.parse_args().series)), sys.stdout, indent=1)
