"""What lies between machines: TLS with certificates of one's own CA, a bucket as the store of workers, nobody there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import dask
import pytest
from distributed import Client

from builder.store import SharedStore, open_place
from tests.farm.processes import programs
from tests.farm.site import compile_one, farm
from tests.s3 import make_bucket, s3_server

_OPENSSL = ("openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2")
NOBODY = """
from builder.errors import SchedulerLostError
from builder.pipeline import open_farm
open_farm._CONNECT = 0.5
try:
    open_farm._connect("tcp://127.0.0.1:1")
except SchedulerLostError as exc:
    print(exc.message)
"""


def made_certificates(folder: Path) -> dict[str, str]:
    """A throw-away CA and a certificate of it for all, as Dask's configuration names them."""
    ca, key, cert = folder / "ca.pem", folder / "key.pem", folder / "cert.pem"
    authority = [*_OPENSSL, "-subj", "/CN=throw-away CA", "-keyout", str(folder / "ca.key"), "-out", str(ca)]
    subprocess.run(authority, check=True, capture_output=True)
    signed = ["-CA", str(ca), "-CAkey", str(folder / "ca.key"), "-subj", "/CN=farm"]
    names = ["-addext", "basicConstraints=critical,CA:FALSE", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run(
        [*_OPENSSL, *signed, *names, "-keyout", str(key), "-out", str(cert)], check=True, capture_output=True
    )
    files = {"distributed.comm.require-encryption": "True", "distributed.comm.tls.ca-file": str(ca)}
    for who in ("scheduler", "worker", "client"):
        files |= {f"distributed.comm.tls.{who}.key": str(key), f"distributed.comm.tls.{who}.cert": str(cert)}
    return files


def test_cells_travel_over_tls_and_through_a_bucket(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tls = made_certificates(tmp_path)
    configured = {f"DASK_{name.upper().replace('.', '__').replace('-', '_')}": value for name, value in tls.items()}
    with s3_server() as server:
        for name, value in server.environment.items():
            monkeypatch.setenv(name, value)
        make_bucket("builds")
        store = SharedStore(open_place("s3://builds/farm"), "s3://builds/farm", print, required=True)
        store.connect(make=True)
        with programs(tmp_path, protocol="tls", more=configured) as apart:
            with (
                dask.config.set({**tls, "distributed.comm.require-encryption": True}),
                farm(apart.address, tmp_path, "run", exchange=store) as run,
            ):
                run.await_workers()
                folder = compile_one(run, tmp_path, 1, source=b"of another machine")
            assert (folder / "said").read_text() == f"{1:064x} [{len(b'of another machine')}]\n"
            assert sorted(path.name for path in folder.iterdir()) == ["modules.json", "said"]
            with pytest.raises((OSError, TypeError, RuntimeError)):  # without a certificate of that CA
                Client(apart.address, timeout=1, set_as_default=False)


def test_a_scheduler_that_is_not_there_is_told_in_one_line() -> None:
    done = subprocess.run([sys.executable, "-c", NOBODY], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("--scheduler tcp://127.0.0.1:1: cannot be reached: ")
    assert done.stderr == ""
