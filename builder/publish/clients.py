"""What a client is told: the ``.repo`` file of a distribution. Pure."""

from __future__ import annotations

import configparser
import io

from builder.model.matrix import Delivery
from builder.model.naming import STREAM_VARIABLE
from builder.model.publication import ClientRepository

KEY_FILE = "RPM-GPG-KEY-repobuild"


def client_repository(
    module: str, distribution: str, delivery: Delivery, base_url: str, *, key_names: tuple[str, ...] = (KEY_FILE,)
) -> ClientRepository:
    """The repository as clients configure it: both signatures checked, stream protection left on (no module_hotfixes).

    ``key_names`` are the files of its public keys beside it; several while one follows another.

    Where each stream is a metadata tree of its own, dnf's variable ``nvidiastream`` says which one.
    """
    base = base_url.rstrip("/")
    name, place = f"{module} module streams for {distribution}", f"{base}/{distribution}/$basearch"
    if delivery is Delivery.BRANCH_REPOS:
        name, place = f"{module} stream ${STREAM_VARIABLE} for {distribution}", f"{place}/streams/${STREAM_VARIABLE}"
    if delivery is Delivery.BRANCH_PACKAGES:
        name = f"{module} for {distribution}, a stream by its packages' names"
    section = f"{module}-{distribution}"
    parser = configparser.ConfigParser(interpolation=None)
    parser[section] = {
        "name": name,
        "baseurl": place,
        "enabled": "1",
        "gpgcheck": "1",
        "repo_gpgcheck": "1",
        "gpgkey": " ".join(f"{base}/{name}" for name in key_names),
    }
    text = io.StringIO()
    parser.write(text, space_around_delimiters=False)
    return ClientRepository(id=section, text=text.getvalue().strip() + "\n")
