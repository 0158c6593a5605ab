"""The lab's patches and the real trees they are for: each fits as it is, in the order given."""

from __future__ import annotations

from pathlib import Path

import pytest

from builder.tools.run import run
from builder.tools.runfile import extract_runfile
from tests.lab.drivers import make_real
from tests.need import need


@pytest.mark.slow
@pytest.mark.parametrize("branch", ["470", "535", "550"])
def test_patches_fit_the_trees_of_their_driver(branch: str, tmp_path: Path) -> None:
    need("apt-get", "makeself", "zstd", "strip", "dpkg-deb", "patch")
    (driver,) = make_real([branch])
    tree = extract_runfile(driver.run, tmp_path)
    for flavor, folder in (("proprietary", "kernel"), ("open", "kernel-open")):
        assert (tree / folder).is_dir() == (flavor in driver.flavors)
        assert not (tree / folder / "patches").exists()
        for patch in driver.patches if flavor in driver.flavors else ():
            if not patch.flavors or flavor in patch.flavors:
                run(
                    ["patch", "-p1", "--fuzz=0", "--batch", "--forward", "-i", patch.path],
                    cwd=tree / folder,
                    timeout=60,
                )


@pytest.mark.slow
def test_a_branch_that_the_archive_keeps_apart_is_laid_out_as_nvidias(tmp_path: Path) -> None:
    need("apt-get", "makeself", "zstd", "strip", "dpkg-deb")
    (driver,) = make_real(["470"])
    assert (driver.branch, driver.flavors) == ("470", ("proprietary",))
    tree = extract_runfile(driver.run, tmp_path)
    names = {path.name for path in tree.iterdir()}
    libraries = ("libcuda", "libnvidia-ml", "libnvidia-cfg", "libnvidia-ptxjitcompiler")
    assert names >= {
        "kernel",
        "firmware",
        "nvidia-smi",
        "LICENSE",
        *(f"{name}.so.{driver.version}" for name in libraries),
    }
    assert (tree / "firmware/gsp.bin").is_file()
