"""Module documents: quoted text, epochs, versions and contexts from content, readable by libmodulemd."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from builder.model.cells import Artifact
from builder.model.matrix import Flavor, Kmods, Profile, Stream
from builder.model.nevra import Evr, Nevra
from builder.model.publication import PublicationContent, StreamContent
from builder.publish.modulemd import gate_serial, module_version, modules_yaml
from builder.tools.createrepo import modulemd_fault


def artifact(name: str, version: str = "535.261.03", release: str = "1.el9", epoch: int = 3) -> Artifact:
    nevra = Nevra(name=name, evr=Evr(epoch=epoch, version=version, release=release), arch="x86_64")
    return Artifact(nevra=nevra, path=Path("/nowhere") / nevra.filename, size=1, sha256="0" * 64)


def part(
    name: str, *artifacts: Artifact, default: bool = False, drivers: tuple[str, ...] = ("535.261.03",)
) -> StreamContent:
    stream = Stream(
        name=name,
        branch="535",
        flavor=Flavor.OPEN,
        kmods=Kmods.PRECOMPILED,
        default=default,
        summary="1.10",
        description="yes: it's a 'test' \"quoted\"\nin two lines",
        profiles=(
            Profile(name="default", packages=("nvidia-driver",), description="on"),
            Profile(name="null", packages=("nvidia-driver",)),
        ),
        default_profile="default",
    )
    return StreamContent(stream=stream, driver_versions=drivers, artifacts=artifacts)


def content(*parts: StreamContent) -> PublicationContent:
    return PublicationContent(
        module="nvidia-driver", distribution="el9", platform="el9", arch="x86_64", streams=parts, sources=()
    )


def documents(*parts: StreamContent) -> list[dict[str, Any]]:
    return list(yaml.safe_load_all(modules_yaml(content(*parts))))


def test_every_text_comes_back_as_the_text_it_was_whatever_it_looks_like() -> None:
    awkward = ("418", "1.10", "null", "yes", "1e3", "0x10", "2026-01-01", "~")
    found = documents(*(part(name, artifact("nvidia-driver")) for name in awkward))
    streams = {d["data"]["stream"] for d in found if d["document"] == "modulemd"}
    assert streams == set(awkward)
    assert set(found[0]["data"]["profiles"]) == set(awkward)
    data = found[1]["data"]
    assert (data["summary"], data["description"]) == ("1.10", "yes: it's a 'test' \"quoted\"\nin two lines")
    assert data["profiles"]["default"]["description"] == "on"
    assert "null" in data["profiles"]


def test_every_text_value_stands_in_double_quotes_for_readers_of_other_yaml_versions() -> None:
    # YAML 1.1 and 1.2 disagree on 1e3, 0o17, 12:30:45, on: only quotes mean the same to all.
    awkward = ("1e3", "0o17", "12:30:45", "on", "r535")
    text = modules_yaml(content(*(part(name, artifact("nvidia-driver")) for name in awkward)))
    plain = {event.value for event in yaml.parse(text) if isinstance(event, yaml.ScalarEvent) and event.style is None}
    keys = {key for document in yaml.safe_load_all(text) for key in _keys(document)}
    assert {word for word in plain - keys if not word.isdigit()} == set()
    assert plain.isdisjoint(awkward)


def _keys(value: Any) -> set[str]:
    if isinstance(value, dict):
        return set(value).union(*(_keys(item) for item in value.values()))
    return set().union(*(_keys(item) for item in value)) if isinstance(value, list) else set()


def test_libmodulemd_accepts_the_documents_and_refuses_a_planted_mistake() -> None:
    good = modules_yaml(content(part("418", artifact("nvidia-driver"), default=True), part("1.10", artifact("a"))))
    assert modulemd_fault(good) is None
    fault = modulemd_fault(good.replace(b"summary:", b"sumary:"))
    assert fault is not None
    assert "sumary" in fault


def test_artifacts_always_carry_their_epoch_and_are_sorted() -> None:
    found = documents(part("r535", artifact("nvidia-driver"), artifact("cuda-drivers", epoch=0)))
    assert found[1]["data"]["artifacts"]["rpms"] == [
        "cuda-drivers-0:535.261.03-1.el9.x86_64",
        "nvidia-driver-3:535.261.03-1.el9.x86_64",
    ]


def test_defaults_name_the_default_stream_and_every_default_profile() -> None:
    found = documents(part("r535", artifact("a")), part("latest", artifact("a"), default=True))
    assert found[0] == {
        "document": "modulemd-defaults",
        "version": 1,
        "data": {
            "module": "nvidia-driver",
            "stream": "latest",
            "profiles": {"r535": ["default"], "latest": ["default"]},
        },
    }
    assert "stream" not in documents(part("r535", artifact("a")))[0]["data"]


@pytest.mark.parametrize(
    ("driver", "serial", "version"),
    [
        ("535.261.03", 7, 53502610030007),
        ("565.77", 0, 56500770000000),
        ("418", 12, 41800000000012),
        ("1000.1.999", 9999, 100000019999999),
    ],
)
def test_module_version_is_made_of_driver_and_serial_and_fits_64_bits(driver: str, serial: int, version: int) -> None:
    assert module_version(driver, serial) == version < 2**63


def test_module_versions_order_as_drivers_and_serials_do() -> None:
    ordered = [
        ("535.54.03", 9),
        ("535.104.05", 1),
        ("535.104.05", 2),
        ("535.261.03", 1),
        ("550.163.01", 1),
        ("565.77", 1),
    ]
    versions = [module_version(*pair) for pair in ordered]
    assert versions == sorted(versions)


@pytest.mark.parametrize("driver", ["535.261.03.1", "535~rc1", "", "535.12345"])
def test_a_driver_version_that_cannot_be_a_module_version_is_refused(driver: str) -> None:
    with pytest.raises(ValueError, match="driver version"):
        module_version(driver, 1)


def test_the_serial_is_that_of_the_newest_gate_of_the_newest_driver() -> None:
    gates = (
        artifact("nvidia-kmod-common", release="7.open.el9"),
        artifact("nvidia-kmod-common", release="12.open.el9"),
        artifact("nvidia-kmod-common", version="535.54.03", release="99.open.el9"),
        artifact("nvidia-driver", release="40.el9"),
    )
    assert gate_serial(gates, "535.261.03") == 12
    assert gate_serial(gates[3:], "535.261.03") == 0


def test_the_context_follows_the_content_so_no_nsvca_stands_for_two_contents() -> None:
    base = part("r535", artifact("nvidia-driver"))
    changed = (
        part("r535", artifact("nvidia-driver"), artifact("nvidia-modprobe")),
        replace(base, stream=replace(base.stream, summary="other")),
        replace(base, stream=replace(base.stream, profiles=base.stream.profiles[:1])),
    )
    contexts = [documents(one)[1]["data"]["context"] for one in (base, *changed)]
    assert len(set(contexts)) == len(contexts)
    assert contexts[0] == documents(base)[1]["data"]["context"]
    assert all(len(c) == 8 and set(c) <= set("0123456789abcdef") for c in contexts)


@pytest.mark.parametrize(("eol", "day"), [("2024", "2024-12-31"), ("2026-06", "2026-06-30"), ("2024-02", "2024-02-29")])
def test_a_branch_that_ends_is_told_with_its_last_day_and_nothing_that_would_move_a_host(eol: str, day: str) -> None:
    ends = replace(part("r535", artifact("nvidia-driver")), eol=eol)
    goes_on = part("latest", artifact("nvidia-driver"), default=True)
    found = documents(ends, goes_on)
    assert [d["document"] for d in found] == ["modulemd-defaults", "modulemd", "modulemd", "modulemd-obsoletes"]
    assert found[-1]["data"] == {
        "modified": f"{day}T00:00Z",
        "module": "nvidia-driver",
        "stream": "r535",
        "eol_date": f"{day}T00:00Z",
        "message": f"R535 drivers get no updates from NVIDIA after {eol}",
    }
    assert modulemd_fault(modules_yaml(content(ends, goes_on))) is None


def test_the_bytes_do_not_depend_on_the_order_of_streams_and_artifacts() -> None:
    one, two = artifact("nvidia-driver"), artifact("nvidia-modprobe")
    first = content(part("a", one, two), part("b", two))
    second = replace(first, streams=(part("b", two), part("a", two, one)))
    assert modules_yaml(first).split(b"---\n")[2:] == modules_yaml(second).split(b"---\n")[2:]
