"""repobuild's tests; tests/lab makes the distribution, kernels and drivers they run on."""

import atexit
import os
import shutil
import tempfile

# `repobuild verify` remembers what it saw of a place: tests and the demo make their places anew each time.
if "REPOBUILD_STATE" not in os.environ:
    _state = tempfile.mkdtemp(prefix="repobuild-seen-")
    os.environ["REPOBUILD_STATE"] = f"{_state}/seen.json"
    atexit.register(shutil.rmtree, _state, ignore_errors=True)
