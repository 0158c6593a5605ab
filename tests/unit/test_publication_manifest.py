"""The manifest's one form, what is refused in one, and which failure several faults make."""

from __future__ import annotations

import hashlib
import json
from typing import Any

import pytest

from builder.errors import (
    ContentsError,
    ExpiredError,
    MixedError,
    RolledBackError,
    UntrustedError,
    VerifyError,
)
from builder.publish import Terms, manifest_schemas
from builder.publish.faults import Fault, verify_error, within
from builder.publish.manifest import (
    is_of_manifest,
    make_manifest,
    read_manifest,
    signature_name,
)

ZERO = "0" * 64


def document(**change: Any) -> bytes:
    made = make_manifest(
        module="nvidia-driver",
        distribution="el9",
        arch="x86_64",
        publication=ZERO,
        key="A" * 40,
        sequence=7,
        terms=Terms(now=1_700_000_000, lifetime=86400),
        files=[("publication.json", ZERO, 3), ("Packages/n/b.rpm", ZERO, 1), ("Packages/n/a.rpm", ZERO, 2)],
    )
    return (json.dumps({**json.loads(made), **change}, sort_keys=True) + "\n").encode()


def test_a_manifest_lists_files_by_path_and_is_read_back() -> None:
    manifest = read_manifest(document())
    assert (manifest.issued, manifest.expires) == ("2023-11-14T22:13:20Z", "2023-11-15T22:13:20Z")
    assert [file.path for file in manifest.files] == ["Packages/n/a.rpm", "Packages/n/b.rpm", "publication.json"]


FILE = {"path": "a", "sha256": ZERO, "size": 1}


@pytest.mark.parametrize(
    "change",
    [
        {"schema": 2},
        {"sequence": 0},
        {"sequence": "7"},
        {"expires": "2023-11-14T22:13:20Z"},
        {"expires": "2023-13-45T99:99:99Z"},
        {"key": "a" * 40},
        {"unknown": 1},
        {"files": [FILE, FILE]},
        {"files": [{**FILE, "path": "/etc/passwd"}]},
        {"files": [{**FILE, "path": "a/../../b"}]},
        {"files": [{**FILE, "size": -1}]},
    ],
    ids=str,
)
def test_a_signed_file_of_another_shape_is_no_manifest(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=r"."):
        read_manifest(document(**change))


def test_a_signature_is_named_by_the_bytes_that_it_signs() -> None:
    name = signature_name(b"x")
    assert name == f"publication-manifest.{hashlib.sha256(b'x').hexdigest()[:16]}.asc"
    assert is_of_manifest(name)
    assert is_of_manifest("publication-manifest.json")
    assert not is_of_manifest(f"Packages/{name}")
    assert not is_of_manifest("publication.json")


def test_the_worst_of_several_faults_names_the_failure_and_all_are_told() -> None:
    kinds = [ExpiredError, ContentsError, VerifyError, MixedError, RolledBackError, UntrustedError]
    faults = [Fault(f"fault {number}", kind) for number, kind in enumerate(kinds)]
    for last, kind in enumerate(kinds):
        error = verify_error("place", faults[: last + 1])
        assert type(error) is kind
        assert error.details == tuple(reversed(faults[: last + 1]))
        assert error.hint
    assert verify_error("place", ["a", "a"]).message == "place: a"
    assert type(verify_error("place", [within("streams/r535", faults[3])])) is MixedError
    assert type(verify_error("place", ["plain words"])) is VerifyError


def test_the_schema_says_what_its_keys_are() -> None:
    properties = manifest_schemas()["publication-manifest"]["properties"]
    assert "rollbacks and renewals" in properties["sequence"]["description"]
