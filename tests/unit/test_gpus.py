"""A driver's own list of GPUs: read, and said for each stream."""

from __future__ import annotations

import json
from typing import Any

import pytest

from builder.errors import SourceError
from builder.fetch.gpus import parse_gpus
from builder.model.matrix import Flavor
from builder.model.report import SupportGpus
from builder.model.sources import Gpu
from builder.report import gpus_file, gpus_sentences, lost_gpus, stream_gpus

# In the shape of NVIDIA's own list.
CHIPS: list[dict[str, Any]] = [
    {"devid": "0x0F02", "name": "NVIDIA GeForce GT 730", "legacybranch": "390.xx"},
    {"devid": "0x1287", "name": "NVIDIA GeForce GT 730", "legacybranch": "470.xx", "features": ["vdpaufeaturesetD"]},
    {"devid": "0x13C2", "name": "NVIDIA GeForce GTX 970", "features": []},
    {"devid": "0x1E04", "subvendorid": "0x10DE", "subdevid": "0x12AE", "name": "RTX  2080 Ti", "features": []},
    {"devid": "0x1E04", "name": "another board", "features": ["kernelopen"]},
    {"devid": "*", "name": "a pattern"},
]
BRANCHES = ("470", "535", "580")


def gpus(chips: list[dict[str, Any]] | None = None) -> tuple[Gpu, ...]:
    return parse_gpus(json.dumps({"chips": CHIPS if chips is None else chips}), "driver 535.261.03")


def said(flavor: Flavor, found: tuple[Gpu, ...] | None = None) -> SupportGpus:
    result = stream_gpus("535.261.03", flavor, gpus() if found is None else found, BRANCHES)
    assert result is not None
    return result


def test_each_device_is_one_gpu_whatever_boards_it_is_on() -> None:
    assert gpus() == (
        Gpu(device="0f02", name="NVIDIA GeForce GT 730", open=False, last_branch="390"),
        Gpu(device="1287", name="NVIDIA GeForce GT 730", open=False, last_branch="470"),
        Gpu(device="13c2", name="NVIDIA GeForce GTX 970", open=False, last_branch=None),
        Gpu(device="1e04", name="RTX 2080 Ti", open=True, last_branch=None),
    )


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"chips": [1]}', '{"chips": [{"devid": "0x1234"}]}', '{"chips": 7}'])
def test_a_list_of_another_shape_is_an_error_that_names_driver_and_file(text: str) -> None:
    with pytest.raises(SourceError, match=r"driver 535: supported-gpus/supported-gpus\.json cannot be read"):
        parse_gpus(text, "driver 535")


def test_an_open_stream_leaves_to_the_proprietary_one_what_only_that_drives() -> None:
    assert [device for device, _ in said(Flavor.PROPRIETARY).driven] == ["13c2", "1e04"]
    assert [device for device, _ in said(Flavor.OPEN).driven] == ["1e04"]
    assert gpus_sentences(said(Flavor.OPEN)) == (
        "1 GPU model (NVIDIA GeForce GTX 970) needs the proprietary modules. "
        "1 GPU model (NVIDIA GeForce GT 730) needs branch R470, the last that drives it."
    )


def test_only_branches_of_the_matrix_are_named_as_a_way_out() -> None:
    assert "R390" not in gpus_sentences(said(Flavor.PROPRIETARY))


def test_many_are_counted_and_some_named() -> None:
    chips = [{"devid": f"0x13{n:02X}", "name": f"GPU {n}", "legacybranch": "580.xx"} for n in range(20)]
    text = gpus_sentences(said(Flavor.OPEN, gpus(chips)))
    assert text == "20 GPU models (GPU 0, GPU 1, GPU 2 …) need branch R580, the last that drives them."


def test_a_driver_without_a_list_says_nothing() -> None:
    assert stream_gpus("470.256.02", Flavor.PROPRIETARY, (), BRANCHES) is None


def test_what_a_stream_lost_since_the_publication_before_is_named_once() -> None:
    before = gpus_file({"latest": said(Flavor.PROPRIETARY), "gone": said(Flavor.OPEN)})
    fewer = gpus([{**chip, "legacybranch": "580.xx"} if chip["devid"] == "0x13C2" else chip for chip in CHIPS])
    now = stream_gpus("590.48.01", Flavor.PROPRIETARY, fewer, BRANCHES)
    assert now is not None
    assert lost_gpus(before, {"latest": now, "new": now}) == {"latest": ("535.261.03", ("NVIDIA GeForce GTX 970",))}
    assert lost_gpus(gpus_file({"latest": now}), {"latest": now}) == {}


@pytest.mark.parametrize("before", [b"", b"{}", b'{"streams": {"latest": {}}}', b"[1]", b'{"streams": {"latest": 1}}'])
def test_a_former_file_of_another_shape_is_passed_over(before: bytes) -> None:
    assert lost_gpus(before, {"latest": said(Flavor.OPEN)}) == {}
