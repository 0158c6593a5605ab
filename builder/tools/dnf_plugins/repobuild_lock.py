# Runs inside the host's dnf 4, whose Python may be 3.6 (EL8): dnf's plugin interface, dnf.plugin.Plugin in its API.
"""A plugin of dnf that writes down what a transaction would install, so that dnf itself decides and nothing is done."""

import json
import os

import dnf

FILE = "REPOBUILD_LOCK"  # environment variable: where to


class RepobuildLock(dnf.Plugin):  # type: ignore[misc]  # dnf has no types
    """Writes ``[[NEVRA, sha256 of the RPM, URL], …]`` once a transaction is resolved; without FILE nothing."""

    name = "repobuild_lock"

    def resolved(self) -> None:
        """Called by dnf before it downloads, asks or changes anything."""
        place = os.environ.get(FILE)
        if place is None:
            return
        rows = []
        for package in self.base.transaction.install_set:
            _kind, digest = package.chksum or (0, b"")
            epoch = "" if package.epoch == 0 else "{}:".format(package.epoch)
            evr = "{}{}-{}".format(epoch, package.version, package.release)
            nevra = "{}-{}.{}".format(package.name, evr, package.arch)
            rows.append([nevra, digest.hex(), package.remote_location()])
        with open(place, "w") as file:
            json.dump(sorted(rows), file)
