"""RPMs of a buildroot lock: fetched once, kept by digest, never taken with other bytes."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path

import pytest

from builder.errors import FetchError
from builder.fetch import fetch_locked
from builder.model.sources import LockedRpm
from builder.store import Store

BYTES = b"an RPM"
SHA256 = hashlib.sha256(BYTES).hexdigest()


def served(folder: Path) -> LockedRpm:
    rpm = folder / "bash 5.rpm"
    rpm.write_bytes(BYTES)
    return LockedRpm(nevra="bash-5-1.x86_64", sha256=SHA256, url=rpm.as_uri())


def test_an_rpm_is_fetched_once_and_kept_when_its_mirror_drops_it(tmp_path: Path) -> None:
    package = served(tmp_path)
    with Store.open(tmp_path / "work") as store:
        path = fetch_locked(package, store)
        assert (path.read_bytes(), path.name) == (BYTES, "bash 5.rpm")
        (tmp_path / "bash 5.rpm").unlink()
        assert fetch_locked(package, store) == path
        assert list((tmp_path / "work/store/partial").iterdir()) == []


def test_a_kept_rpm_that_was_damaged_is_fetched_again(tmp_path: Path) -> None:
    package = served(tmp_path)
    with Store.open(tmp_path / "work") as store:
        path = fetch_locked(package, store)
        path.write_bytes(b"damaged")
        assert fetch_locked(package, store).read_bytes() == BYTES


def test_other_bytes_and_an_address_that_is_not_known_are_refused(tmp_path: Path) -> None:
    package = served(tmp_path)
    with Store.open(tmp_path / "work") as store:
        with pytest.raises(FetchError, match="has other bytes than the lock says"):
            fetch_locked(replace(package, sha256="0" * 64), store)
        with pytest.raises(FetchError, match="the lock does not say where it is"):
            fetch_locked(replace(package, url=""), store)
        assert list((tmp_path / "work/store/sources").iterdir()) == []
