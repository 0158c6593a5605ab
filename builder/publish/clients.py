"""What a client is told: the ``.repo`` file of a distribution. Pure."""

from __future__ import annotations

import configparser
import io
from collections.abc import Sequence

from builder.model.matrix import Delivery
from builder.model.naming import STREAM_VARIABLE
from builder.model.publication import ClientRepository, HostRepository

KEY_FILE = "RPM-GPG-KEY-repobuild"


def client_repository(
    module: str,
    distribution: str,
    delivery: Delivery,
    base_url: str,
    *,
    key_names: tuple[str, ...] = (KEY_FILE,),
    key_file: str | None = None,
) -> ClientRepository:
    """The repository as clients configure it: both signatures checked, stream protection left on (no module_hotfixes).

    ``key_names`` are the files of its public keys beside it; several while one follows another. ``key_file`` is one on
    the client itself that has them all, which then is named instead.

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
        "gpgkey": f"file://{key_file}" if key_file else " ".join(f"{base}/{name}" for name in key_names),
    }
    text = io.StringIO()
    parser.write(text, space_around_delimiters=False)
    return ClientRepository(id=section, text=text.getvalue().strip() + "\n")


def host_repository(
    module: str, distribution: str, base_url: str, keys: Sequence[bytes], certificate: tuple[str, bytes] | None
) -> HostRepository:
    """What the release package of a distribution with module streams brings (ADR 0035).

    All keys in one file, which the package replaces: whoever edited the .repo file learns of the next key, too.
    """
    key_file = f"/etc/pki/rpm-gpg/RPM-GPG-KEY-{module}-{distribution}"
    return HostRepository(
        repository=client_repository(module, distribution, Delivery.MODULAR, base_url, key_file=key_file),
        file=f"{distribution}-nvidia.repo",
        key_file=key_file,
        keys=tuple(keys),
        certificate=certificate,
    )
