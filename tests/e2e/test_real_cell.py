"""One real NVIDIA cell on the production path: nvidia and nvidia-peermem, from the .run to a client's modinfo."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Job, make_job
from tests.lab.client import make_client
from tests.lab.distro import LabDistro
from tests.lab.drivers import make_real
from tests.lab.matrix import stream

STREAMS = (stream("r535-open", "535", "open"), stream("latest", "newest-complete", "open", default=True))


@pytest.mark.slow
def test_a_real_driver_is_built_qualified_published_and_installed(
    tmp_path: Path, lab: LabDistro, keys: Path, generic: list[str], whole: Job
) -> None:
    (driver,) = make_real(["535"])
    job = make_job(
        tmp_path, lab, [driver], keys, streams=STREAMS, kernels=generic[1:], flavors=["open"],
        modules=["nvidia", "nvidia-peermem"], like=whole, kinds=["roots"],
    )  # fmt: skip
    document = job.json("matrix")
    (cell,) = [u for u in document["units"] if u["kind"] == "kmod-nvidia"]
    assert {c["name"] for c in cell["checks"]} >= {"vermagic", "imports", "modules", "files", "nevra"}
    assert all(c["outcome"] == "ok" for c in cell["checks"])
    job.verify()
    kernel = next(k for k in lab.kernels if k.release == generic[1])
    client = make_client(tmp_path / "client", lab, job.repo, [f"{kernel.core.name}-{kernel.core.evr}"])
    client.use_published()
    client.dnf("module", "install", "nvidia-driver:latest")
    module = client.module(kernel.release)
    assert module is not None
    assert (module.version, module.vermagic) == (driver.version, kernel.release)
    assert client.module(kernel.release, "nvidia_peermem") is not None
