"""What a host needs before its first look: the keys and the .repo file beside the publications."""

from __future__ import annotations

from collections.abc import Mapping

from builder.model.matrix import Delivery
from builder.publish.clients import client_repository
from builder.publish.generations import Repository
from builder.store.files import write_atomic


def write_client_files(
    repository: Repository,
    module: str,
    distribution: str,
    delivery: Delivery,
    keys: Mapping[str, bytes],
    base_url: str | None,
) -> None:
    """Write the key files (by name) and ``<distribution>.repo``, which names all of them; call while ``writing``.

    ``base_url`` is where clients find the repository (default: its own folder).
    """
    for name, data in keys.items():
        write_atomic(repository.root / name, data)
    url = base_url or repository.root.as_uri()
    repo_file = client_repository(module, distribution, delivery, url, key_names=tuple(keys))
    write_atomic(repository.root / f"{distribution}.repo", repo_file.text.encode())
