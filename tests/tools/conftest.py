"""What several tests of tools start from, made once: keys, signed RPMs, a publication, streams, a store to build in."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from builder.sign import Signer, new_key
from builder.store import Store
from tests.lab.archive import LabUnavailableError
from tests.lab.distro import LabDistro, make_distro
from tests.lab.dnf5 import make_dnf5
from tests.memory import roomy_folder
from tests.need import need, need_header, need_root
from tests.once import session_folder
from tests.tools.publishing import PACKAGES, REQUIRES, Shop, make_rpms, put_path, sign_all, two_streams
from tests.tools.sending import Source, copy_of, two_generations
from tests.tools.stream_repository import Repository


@pytest.fixture(scope="session")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Everything signing and publishing tests start from; nobody writes into it."""
    need("gpg", "gpg-agent", "rpmsign", "rpmkeys", "rpmbuild")
    base = session_folder(tmp_path_factory, "shop")
    for name in ("home", "foreign"):
        new_key(base / name, name)
    signer = Signer.open(base / "home")
    unsigned = make_rpms(base / "rpms", PACKAGES, requires=REQUIRES)
    rpms = sign_all(signer, unsigned, base / "signed")
    made = Shop(
        home=base / "home",
        signer=signer,
        foreign_home=base / "foreign",
        foreign=Signer.open(base / "foreign"),
        unsigned=unsigned,
        rpms=rpms,
        published=base / "repo",
    )
    return made._replace(published=put_path(made, two_streams(rpms), base / "repo"))


@pytest.fixture(scope="session")
def made_source(shop: Shop, tmp_path_factory: pytest.TempPathFactory) -> Source:
    """A repository of two generations; nobody writes into it."""
    return two_generations(shop, session_folder(tmp_path_factory, "source") / "repo")


@pytest.fixture
def source(made_source: Source, tmp_path: Path) -> Source:
    """A copy of it, to switch and to send."""
    return copy_of(made_source, tmp_path / "repo")


@pytest.fixture(scope="session")
def dnf5_root() -> Path:
    """A root that has dnf5, from a later release of the host's archive."""
    need_root()
    need("unshare")
    try:
        root = make_dnf5()
    except LabUnavailableError as exc:
        pytest.skip(str(exc))
    if root is None:
        pytest.skip("no dnf5 in the host's archive")
    return root


@pytest.fixture(scope="session")
def streams(tmp_path_factory: pytest.TempPathFactory) -> Repository:
    """Small RPMs of the real specs as a modular repository; nobody writes into it."""
    need("rpmbuild", "createrepo_c", "gcc", "make", "strip", "zstd")
    need_header("zstd.h")
    need_root()
    repository = Repository(session_folder(tmp_path_factory, "streams"))
    repository.make()
    return repository


@pytest.fixture(scope="module")
def distro() -> LabDistro:
    """The lab distribution, for tests of builders."""
    need("dnf", "rpmbuild", "unshare", "createrepo_c", "apt-get")
    need_root()
    return make_distro()


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """A store for base roots and builds, of one test module."""
    with roomy_folder(tmp_path_factory.mktemp("build")) as folder, Store.open(folder / "work") as opened:
        yield opened
